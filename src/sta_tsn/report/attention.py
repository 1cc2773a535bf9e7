"""The paper's Figure 6: what the model looks at, and when."""

from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sta_tsn.report.figures import save_figure
from sta_tsn.video import SegmentSampler, VideoReader, center_crop

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def explain_video(model: nn.Module, path: Path, num_frames: int) -> tuple[np.ndarray, Tensor, "object"]:
    """Run a `STATSN` on one video's 3 x 10 centre-cropped test frames.

    Returns:
        frames uint8 (30, S, S, 3), their indices (3, 10), and the model's `ActionOutput` for the one video.
    """
    indices = SegmentSampler()(num_frames)
    frames = center_crop(VideoReader(path).read(indices.flatten().tolist()), model.input_px)
    clips = torch.from_numpy(frames).permute(0, 3, 1, 2).unflatten(0, tuple(indices.shape))
    with torch.no_grad():
        return frames, indices, model.eval()(clips[None])


def attention_figure(frames: np.ndarray, indices: Tensor, output, title: str, path: Path) -> None:
    """Per segment: the crops, alpha laid over them, beta as bars with frame numbers.

    Brightness is alpha relative to the frame's own largest and smallest value; the colour bar's text gives the
    range, since elementwise attention on a small dataset can stay close to uniform.
    """
    alpha, beta = output.spatial_weights[0], output.temporal_weights[0]  # (N, T, H, W), (N, T)
    num_segments, num_frames = beta.shape
    masks = F.interpolate(alpha.flatten(0, 1)[:, None], size=frames.shape[1:3], mode="bicubic")[:, 0].clamp(min=0)
    low, high = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
    masks = ((masks - low) / (high - low).clamp(min=1e-12)).numpy()
    uniform = alpha[0, 0].numel()
    figure, axes = plt.subplots(3 * num_segments, num_frames, figsize=(1.25 * num_frames, 3.6 * num_segments), squeeze=False)
    ceiling = max(float(beta.max()), 1.5 / num_frames)
    for n in range(num_segments):
        for t in range(num_frames):
            image, mask = frames[n * num_frames + t], masks[n * num_frames + t]
            crop, overlay, bar = axes[3 * n : 3 * n + 3, t]
            crop.imshow(image)
            overlay.imshow((image * (0.25 + 0.75 * mask[..., None])).astype(np.uint8))
            bar.bar([0], [float(beta[n, t])], width=0.6, color="#cc6677")
            bar.axhline(1 / num_frames, color="grey", linewidth=0.8, linestyle="--")
            bar.set(ylim=(0, ceiling), xlim=(-0.6, 0.6), yticks=[], xticks=[0], xticklabels=[f"{int(indices[n, t])}"])
            bar.text(0, float(beta[n, t]), f"{float(beta[n, t]):.2f}", ha="center", va="bottom", fontsize=7)
            crop.axis("off")
            overlay.axis("off")
        axes[3 * n, 0].set_title(f"segment {n + 1}", loc="left", fontsize=10)
        axes[3 * n + 2, 0].set_ylabel("β")
    figure.suptitle(f"{title}\nα·HW from {float(alpha.min()) * uniform:.2f} to {float(alpha.max()) * uniform:.2f} (uniform 1); dashed: uniform β", y=0.93)
    save_figure(figure, path)
