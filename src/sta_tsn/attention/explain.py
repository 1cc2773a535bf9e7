"""The paper's Figure 6: what a network looks at, and when."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sta_tsn.artefacts import first_line, load_checkpoint, save_figure
from sta_tsn.datasets import VideoRecord
from sta_tsn.errors import UserError
from sta_tsn.lightning import LightningModule
from sta_tsn.models import ActionOutput
from sta_tsn.tasks import TemporalAttentionTSN
from sta_tsn.video import ClipDataset, FlowStore, SegmentSampler, dequantize_flow
from sta_tsn.video.flow.colour import colour_wheel, flow_to_colour
from sta_tsn.video.flow.flow_files import NO_MOTION
from sta_tsn.video.flow.flow_store import FLOW_STACK
from sta_tsn.video.flow.video_flow import stored_flow

COLOUR_MAP = "turbo"
SMALLEST_TOP = 2.0  # times uniform attention: what is close to uniform shall look so


class CenterClips(NamedTuple):
    """What a network of N segments x T frames sees of one video.

    clips: uint8 (1, N, T, C, S, S). pictures, indices, flow_bound_px, keep_proportions: see
    `Explained`.
    """

    clips: Tensor
    pictures: np.ndarray
    indices: Tensor
    flow_bound_px: float | None
    keep_proportions: bool = False


class Explained(NamedTuple):
    """What a network saw and said of one video.

    pictures: uint8 (N * T, S, S, 3) RGB. indices: of the frames, (N, T). output: scores and
    attention. flow_bound_px: of the pictures' colours, where the network sees flow.
    keep_proportions: see `video.augment.frame_size`.
    """

    pictures: np.ndarray
    indices: Tensor
    output: ActionOutput
    flow_bound_px: float | None = None
    keep_proportions: bool = False


def explain_video(
    task: LightningModule, record: VideoRecord, flow: FlowStore | None = None
) -> Explained:
    """Run a task's network on what `center_clips` gives of one video."""
    seen = center_clips(task, record, flow)
    with torch.no_grad():
        output = task.model.eval()(seen.clips.to(task.model.encoder.cnn.mean.device))
    parts = [None if part is None else part.cpu() for part in output]
    return Explained(
        seen.pictures,
        seen.indices,
        ActionOutput(*parts),
        seen.flow_bound_px,
        seen.keep_proportions,
    )


def center_clips(
    task: LightningModule,
    record: VideoRecord,
    flow: FlowStore | None = None,
    sampler: SegmentSampler | None = None,
) -> CenterClips:
    """Return one video's centre-cropped test frames, or stacks of flow where the network sees flow.

    Args:
        task: whose network looks.
        record: the video, with its number of frames.
        flow: where the flow is stored. Where None, what the network sees of it is computed, at most
            300 pairs of frames.
        sampler: which frames. Where None, 3 x 10 or what else the network learned from; fewer
            frames than are stored (see `FeatureStore`) then lie half a stored bin off those of its
            training where the step is even.

    Raises:
        UserError: a video of one frame, for a network of flow.
    """
    model = task.model
    pair_distance = task.hparams.get("pair_distance", 0)
    sees_flow = model.encoder.cnn.num_channels != 3
    if sees_flow and record.num_frames < 2:
        raise UserError(f"{record.path} has one frame, so it has no flow for this network to see.")
    if sampler is None:
        frames = task.hparams.get("frames") or (3, 10)
        stack_length = FLOW_STACK if sees_flow else 1 + pair_distance
        sampler = SegmentSampler(*frames, stack_length=stack_length)
    with stored_flow(record, flow, sampler) if sees_flow else nullcontext() as store:
        unlabelled = [replace(record, labels=())]  # what it shows plays no part
        clip = ClipDataset(
            unlabelled,
            0,
            sampler,
            "center",
            model.input_px,
            flow=store,
            pair_distance=pair_distance,
            keep_proportions=task.keeps_proportions,
        )[0, 0]
    pictures = clip["clips"].flatten(0, 2).permute(0, 2, 3, 1)  # (N * T, S, S, C)
    if not sees_flow:
        shown = pictures[..., :3].numpy()
        kept = task.keeps_proportions
        return CenterClips(clip["clips"], shown, clip["frame_indices"], None, kept)
    first = pictures[..., :2]
    motion = torch.where(first == NO_MOTION, 0.0, dequantize_flow(first)).numpy()
    length = np.hypot(motion[..., 0], motion[..., 1])
    bound = max(1.0, float(np.percentile(length, 99)))
    coloured = np.stack([flow_to_colour(one, bound) for one in motion])
    return CenterClips(clip["clips"], coloured, clip["frame_indices"], bound)


def attention_figure(
    explained: Explained, title: str, path: Path, times_sec: Sequence[float] | None = None
) -> None:
    """Write `plot_attention` as a file, in the format that its name says."""
    save_figure(plot_attention(explained, title, times_sec), path)


def plot_attention(
    explained: Explained, title: str, times_sec: Sequence[float] | None = None
) -> plt.Figure:
    """Draw each segment's crops, alpha laid over them, and beta (of STA-TSN) as bars.

    Alpha is colour over the grey crop, on one scale for the whole video that reaches twice uniform
    attention at least: attention that is close to uniform looks so. Flow is shown as colour, with
    its wheel.

    Args:
        explained: what the network saw and said.
        title: above everything.
        times_sec: of all frames of the video; where None, frames are named by their numbers.
    """
    num_segments, num_frames = explained.indices.shape
    beta = explained.output.temporal_weights
    alpha = explained.output.spatial_weights
    colours = None
    overlays = explained.pictures
    if alpha is not None:
        colours = _scale(alpha)
        overlays = crops_under_attention(explained)
    num_rows = 2 if beta is None else 3
    size = (1.2 * num_frames, (0.1 + 1.2 * num_rows) * num_segments)
    figure = plt.figure(figsize=size, layout="constrained")
    panels = figure.subfigures(num_segments, 1, squeeze=False, hspace=0.04).flat
    for n, panel in enumerate(panels):
        panel.suptitle(f"segment {n + 1}", x=0.02, ha="left", fontsize=11)
        grid = panel.subplots(num_rows, num_frames, squeeze=False)
        for t in range(num_frames):
            number = n * num_frames + t
            frame = int(explained.indices[n, t])
            name = f"frame {frame}" if times_sec is None else f"{times_sec[frame]:.2f} s"
            grid[0, t].imshow(explained.pictures[number])
            grid[1, t].imshow(overlays[number])
            grid[0, t].axis("off")
            grid[1, t].axis("off")
            if beta is None:
                grid[1, t].set_title(name, fontsize=8)
            else:
                _draw_beta(grid[2, t], beta[0], n, t)
                grid[2, t].set_xlabel(name, fontsize=8)
        if colours is not None:
            panel.colorbar(
                colours, ax=panel.axes, label="α over uniform", aspect=30, pad=0.01, extend="max"
            )
    notes = ["no spatial attention" if colours is None else "α: colour over the grey crop"]
    if explained.flow_bound_px:
        bound = explained.flow_bound_px
        notes.append(f"crop's colour: where to, full at {bound:.1f} px a frame")
        wheel = figure.add_axes((0.955, 0.955, 0.04, 0.04))
        wheel.imshow(colour_wheel())
        wheel.axis("off")
    if beta is not None:
        notes.append("dashed: uniform β")
    # A file's name is no formula, whatever dollar signs it holds.
    figure.suptitle(f"{title}\n{'; '.join(notes)}", fontsize=12, parse_math=False)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, however often it is saved
    plt.close(figure)
    return figure


def over_uniform(alpha: Tensor) -> Tensor:
    """Return alpha (1, N, T, h, w) over what uniform attention gives, (N * T, h, w)."""
    return alpha[0].flatten(0, 1) * alpha.shape[-2] * alpha.shape[-1]


def top_of_scale(alpha: Tensor) -> float:
    """Return the value of `over_uniform` that has the colour map's last colour."""
    return max(SMALLEST_TOP, float(over_uniform(alpha).quantile(0.99)))


def _draw_beta(bar: plt.Axes, beta: Tensor, n: int, t: int) -> None:
    """Draw one bar of beta (N, T), all of a video to the same scale."""
    weight = float(beta[n, t])
    highest = float(beta.max())
    uniform = 1 / beta.shape[1]
    bar.bar([0], [weight], width=0.6, color="#cc6677")
    bar.axhline(uniform, color="grey", linewidth=0.8, linestyle="--")
    ceiling = 1.25 * max(highest, 1.5 * uniform)
    bar.set(ylim=(0, ceiling), xlim=(-0.6, 0.6), yticks=[], xticks=[])
    bar.text(0, weight, f"{weight:.2f}", ha="center", va="bottom", fontsize=7)
    bar.set_ylabel("β" if t == 0 else "")


def _scale(alpha: Tensor) -> plt.cm.ScalarMappable:
    return plt.cm.ScalarMappable(plt.Normalize(0, top_of_scale(alpha)), COLOUR_MAP)


def crops_under_attention(explained: Explained) -> np.ndarray:
    """Return the grey crops with alpha as colour over them, uint8 (N * T, S, S, 3)."""
    frames = explained.pictures
    alpha = explained.output.spatial_weights
    scale = _scale(alpha)
    maps = over_uniform(alpha)[:, None]
    maps = F.interpolate(maps, size=frames.shape[1:3], mode="bicubic")
    shares = scale.norm(maps[:, 0].numpy())
    colours = scale.cmap(shares)[..., :3]
    grey = frames.mean(-1, keepdims=True)
    return (0.5 * grey + 0.5 * 255 * colours).astype(np.uint8)


def load_sta_tsn(checkpoint: Path) -> TemporalAttentionTSN:
    """Load a stage-two checkpoint, with its backbone and class names.

    Raises:
        UserError: no such file, damaged, or of another network.
    """
    state = load_checkpoint(checkpoint, mmap=True)
    if "network" not in state.get("hyper_parameters", {}):
        raise UserError(
            f"{checkpoint} is not a checkpoint of stage two (.../temporal/checkpoints/last.ckpt)."
        )
    try:
        return TemporalAttentionTSN.load_from_checkpoint(
            checkpoint, map_location="cpu", weights_only=True
        )
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        raise UserError(
            f"{checkpoint}: its network cannot be built ({first_line(error)}); train it again "
            "with this version."
        ) from error
