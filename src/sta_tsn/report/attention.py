"""The paper's Figure 6: what the model looks at, and when."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sta_tsn.errors import UserError
from sta_tsn.models import ActionOutput
from sta_tsn.report.figures import save_figure
from sta_tsn.tasks import TemporalAttentionTSN
from sta_tsn.video import SegmentSampler, VideoReader, center_crop


def explain_video(model: nn.Module, path: Path, num_frames: int) -> tuple[np.ndarray, Tensor, ActionOutput]:
    """Run a `STATSN` on one video's 3 x 10 centre-cropped test frames.

    Returns:
        frames uint8 (30, S, S, 3), their indices (3, 10), and the model's `ActionOutput` for the one video.
    """
    indices = SegmentSampler()(num_frames)
    frames = center_crop(VideoReader(path).read(indices.flatten().tolist()), model.input_px)
    clips = torch.from_numpy(frames).permute(0, 3, 1, 2).unflatten(0, tuple(indices.shape))
    with torch.no_grad():
        return frames, indices, model.eval()(clips[None])


def attention_figure(frames: np.ndarray, indices: Tensor, output: ActionOutput, title: str, path: Path) -> None:
    """Per segment: the crops, alpha laid over them, beta as bars with frame numbers.

    Brightness is alpha relative to the frame's own largest and smallest value; the colour bar's text gives the
    range, since elementwise attention on a small dataset can stay close to uniform.
    """
    beta = output.temporal_weights[0]  # (N, T)
    num_segments, num_frames = beta.shape
    masks, alpha_text = _masks(output, frames.shape[1:3])
    figure = plt.figure(figsize=(1.2 * num_frames, 3.7 * num_segments), layout="constrained")
    ceiling = 1.25 * max(float(beta.max()), 1.5 / num_frames)
    for n, panel in enumerate(figure.subfigures(num_segments, 1, hspace=0.04)):
        panel.suptitle(f"segment {n + 1}", x=0.02, ha="left", fontsize=11)
        for t, (crop, overlay, bar) in enumerate(panel.subplots(3, num_frames).T):
            image, mask, weight = frames[n * num_frames + t], masks[n * num_frames + t], float(beta[n, t])
            crop.imshow(image)
            overlay.imshow((image * (0.25 + 0.75 * mask[..., None])).astype(np.uint8))
            crop.axis("off")
            overlay.axis("off")
            bar.bar([0], [weight], width=0.6, color="#cc6677")
            bar.axhline(1 / num_frames, color="grey", linewidth=0.8, linestyle="--")
            bar.set(ylim=(0, ceiling), xlim=(-0.6, 0.6), yticks=[], xticks=[0], xticklabels=[f"{int(indices[n, t])}"])
            bar.text(0, weight, f"{weight:.2f}", ha="center", va="bottom", fontsize=7)
            bar.set_ylabel("β" if t == 0 else "")
            bar.set_xlabel("frame" if t == 0 else "", fontsize=8)
    figure.suptitle(f"{title}\n{alpha_text}; dashed: uniform β", fontsize=12)
    save_figure(figure, path)


def _masks(output: ActionOutput, size: tuple[int, int]) -> tuple[np.ndarray, str]:
    """Brightness (N*T, H, W) in [0, 1] and what to say of alpha; all bright where the model has no spatial attention."""
    if output.spatial_weights is None:
        return np.ones((output.temporal_weights.numel(), *size)), "no spatial attention"
    alpha = output.spatial_weights[0]  # (N, T, h, w)
    masks = F.interpolate(alpha.flatten(0, 1)[:, None], size=size, mode="bicubic")[:, 0].clamp(min=0)
    low, high = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
    relative = alpha * alpha[0, 0].numel()
    text = f"α·HW from {float(relative.min()):.2f} to {float(relative.max()):.2f} (uniform 1)"
    return ((masks - low) / (high - low).clamp(min=1e-12)).numpy(), text


def load_sta_tsn(checkpoint: Path) -> TemporalAttentionTSN:
    """A stage-two checkpoint, with its backbone and class names."""
    if not checkpoint.is_file():
        raise UserError(f"{checkpoint}: no such checkpoint. After make train it is runs/.../temporal/checkpoints/last.ckpt")
    try:
        return TemporalAttentionTSN.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{checkpoint} is not a checkpoint of stage two (.../temporal/checkpoints/last.ckpt): {error}") from error


def explain(video: Path, checkpoint: Path, picture: Path) -> None:
    """`make explain`: classify any video with a stage-two checkpoint and draw what it looked at."""
    task = load_sta_tsn(checkpoint)
    frames, indices, output = explain_video(task.model, video, len(VideoReader(video)))
    shares = output.scores[0].softmax(0)
    for index in shares.argsort(descending=True)[:5].tolist():
        print(f"{shares[index]:7.1%}  {task.classes[index]}")
    attention_figure(frames, indices, output, f"{video.name}: {task.classes[int(shares.argmax())]}", picture)
    print(f"Attention: {picture.resolve()}")
