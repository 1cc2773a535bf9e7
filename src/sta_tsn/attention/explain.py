"""The paper's Figure 6: what the model looks at, and when."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.nn import functional as F

from sta_tsn.artefacts import first_line, load_checkpoint, save_figure
from sta_tsn.datasets import VideoRecord
from sta_tsn.errors import UserError
from sta_tsn.models import ActionOutput
from sta_tsn.tasks import TemporalAttentionTSN
from sta_tsn.video import ClipDataset, FlowStore, SegmentSampler, VideoReader, dequantize_flow
from sta_tsn.video.flow.colour import colour_wheel, flow_to_colour
from sta_tsn.video.flow.flow_extraction import FlowSettings, flow_of_pairs
from sta_tsn.video.flow.flow_files import NO_MOTION
from sta_tsn.video.flow.flow_store import FLOW_STACK, differing


class CenterClips(NamedTuple):
    """What a model of N segments x T frames sees of one video: clips uint8 (1, N, T, C, S, S); for people: see `Explained`."""

    clips: Tensor
    pictures: np.ndarray
    indices: Tensor
    flow_bound_px: float | None


class Explained(NamedTuple):
    """What a model saw and said of one video: pictures uint8 (N * T, S, S, 3) RGB, frame indices (N, T), output."""

    pictures: np.ndarray
    indices: Tensor
    output: ActionOutput
    flow_bound_px: float | None = None  # of the pictures' colours, where the model sees flow


def explain_video(
    task: LightningModule, record: VideoRecord, flow: FlowStore | None = None
) -> Explained:
    """Run a task's network on what `center_clips` gives of one video."""
    clips, pictures, indices, bound = center_clips(task, record, flow)
    with torch.no_grad():
        output = task.model.eval()(clips.to(task.model.encoder.cnn.mean.device))
    return Explained(
        pictures,
        indices,
        ActionOutput(*(None if part is None else part.cpu() for part in output)),
        bound,
    )


def center_clips(
    task: LightningModule, record: VideoRecord, flow: FlowStore | None = None
) -> CenterClips:
    """One video's centre-cropped test frames, 3 x 10 or what else `task` learned from, or stacks of flow if those are what it sees.

    Fewer frames than are stored (see `FeatureStore`) lie half a stored bin off those of its training where the step is even.

    Args:
        flow: where the flow is stored; for a network of flow what it sees of it is computed where None, at most 300 pairs of frames.
    """
    model, frames, pair_distance = (
        task.model,
        task.hparams.get("frames") or (3, 10),
        task.hparams.get("pair_distance", 0),
    )
    sees_flow = model.encoder.cnn.num_channels != 3
    if sees_flow and record.num_frames < 2:
        raise UserError(f"{record.path} has one frame, so it has no flow for this model to see.")
    sampler = SegmentSampler(*frames, stack_length=FLOW_STACK if sees_flow else 1 + pair_distance)
    with stored_flow(record, flow, sampler) if sees_flow else nullcontext() as store:
        alone = [replace(record, labels=())]  # what it shows plays no part
        clip = ClipDataset(
            alone, 0, sampler, "center", model.input_px, flow=store, pair_distance=pair_distance
        )[0, 0]
    pictures = clip["clips"].flatten(0, 2).permute(0, 2, 3, 1)  # (N * T, S, S, C)
    if not sees_flow:
        return CenterClips(clip["clips"], pictures[..., :3].numpy(), clip["frame_indices"], None)
    motion = (dequantize_flow(pictures[..., :2]) * (pictures[..., :2] != NO_MOTION)).numpy()
    bound = max(1.0, float(np.percentile(np.hypot(motion[..., 0], motion[..., 1]), 99)))
    return CenterClips(
        clip["clips"],
        np.stack([flow_to_colour(one, bound) for one in motion]),
        clip["frame_indices"],
        bound,
    )


@contextmanager
def stored_flow(
    record: VideoRecord, flow: FlowStore | None, sampler: SegmentSampler
) -> Iterator[FlowStore]:
    """`flow`, or a store that for the time being holds this video's alone, as far as stacks at `sampler`'s starts show it."""
    if flow:
        yield flow
        return
    starts = sampler(record.num_frames - 1)
    seen = set(
        (starts[..., None] + torch.arange(sampler.stack_length))
        .clamp(max=record.num_frames - 2)
        .flatten()
        .tolist()
    )
    with TemporaryDirectory() as folder:
        store = FlowStore(folder)
        store.write(
            record,
            flow_of_pairs(
                VideoReader(record.path),
                seen,
                torch.device("cuda" if torch.cuda.is_available() else "cpu"),
            ),
        )
        yield store


def attention_figure(explained: Explained, title: str, path: Path) -> None:
    """`plot_attention` as a file."""
    save_figure(plot_attention(explained, title), path)


def plot_attention(explained: Explained, title: str) -> plt.Figure:
    """Per segment: the crops, alpha laid over them, beta (of STA-TSN) as bars with frame numbers; flow as colour, with its wheel.

    Alpha is colour over the grey crop, on one scale for the whole video that reaches twice uniform attention at least: attention
    that is close to uniform looks so.
    """
    frames, indices, output, flow_bound_px = explained
    (num_segments, num_frames), beta = indices.shape, output.temporal_weights
    alpha_colours = None if output.spatial_weights is None else _scale(output.spatial_weights)
    overlays = (
        frames
        if alpha_colours is None
        else _overlays(frames, output.spatial_weights, alpha_colours)
    )
    num_rows = 2 if beta is None else 3
    figure = plt.figure(
        figsize=(1.2 * num_frames, (0.1 + 1.2 * num_rows) * num_segments), layout="constrained"
    )
    for n, panel in enumerate(figure.subfigures(num_segments, 1, squeeze=False, hspace=0.04).flat):
        panel.suptitle(f"segment {n + 1}", x=0.02, ha="left", fontsize=11)
        for t, (crop, overlay, *rest) in enumerate(
            panel.subplots(num_rows, num_frames, squeeze=False).T
        ):
            crop.imshow(frames[n * num_frames + t])
            overlay.imshow(overlays[n * num_frames + t])
            crop.axis("off")
            overlay.axis("off")
            if beta is None:
                overlay.set_title(f"frame {int(indices[n, t])}", fontsize=8)
            else:
                _draw_beta(rest[0], beta[0], n, t, int(indices[n, t]))
        if alpha_colours is not None:
            panel.colorbar(
                alpha_colours,
                ax=panel.axes,
                label="α over uniform",
                aspect=30,
                pad=0.01,
                extend="max",
            )
    notes = ["no spatial attention" if alpha_colours is None else "α: colour over the grey crop"]
    if flow_bound_px:
        notes.append(f"crop's colour: where to, full at {flow_bound_px:.1f} px a frame")
        wheel = figure.add_axes((0.955, 0.955, 0.04, 0.04))
        wheel.imshow(colour_wheel())
        wheel.axis("off")
    notes += [] if beta is None else ["dashed: uniform β"]
    figure.suptitle(f"{title}\n{'; '.join(notes)}", fontsize=12)
    plt.close(figure)
    return figure


def _draw_beta(bar: plt.Axes, beta: Tensor, n: int, t: int, frame: int) -> None:
    """One bar of beta (N, T), all of a video to the same scale."""
    weight, num_frames = float(beta[n, t]), beta.shape[1]
    bar.bar([0], [weight], width=0.6, color="#cc6677")
    bar.axhline(1 / num_frames, color="grey", linewidth=0.8, linestyle="--")
    ceiling = 1.25 * max(float(beta.max()), 1.5 / num_frames)
    bar.set(ylim=(0, ceiling), xlim=(-0.6, 0.6), yticks=[], xticks=[0], xticklabels=[f"{frame}"])
    bar.text(0, weight, f"{weight:.2f}", ha="center", va="bottom", fontsize=7)
    bar.set_ylabel("β" if t == 0 else "")
    bar.set_xlabel("frame" if t == 0 else "", fontsize=8)


def _over_uniform(alpha: Tensor) -> Tensor:  # (1, N, T, h, w) -> (N*T, h, w)
    return alpha[0].flatten(0, 1) * alpha.shape[-2] * alpha.shape[-1]


def _scale(alpha: Tensor) -> plt.cm.ScalarMappable:
    top = max(2.0, float(_over_uniform(alpha).quantile(0.99)))
    return plt.cm.ScalarMappable(plt.Normalize(0, top), "turbo")


def _overlays(frames: np.ndarray, alpha: Tensor, colours: plt.cm.ScalarMappable) -> np.ndarray:
    """Alpha in colour over the grey frames, uint8 (N*T, H, W, 3)."""
    maps = F.interpolate(_over_uniform(alpha)[:, None], size=frames.shape[1:3], mode="bicubic")[
        :, 0
    ]
    grey = frames.mean(-1, keepdims=True)
    return (0.5 * grey + 0.5 * 255 * colours.cmap(colours.norm(maps.numpy()))[..., :3]).astype(
        np.uint8
    )


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


def _flow_made_otherwise(checkpoint: Path) -> str:
    """Name the settings in which the flow that it learned from differs from `flow_of_pairs`'."""
    ours = FlowSettings().as_dict()
    learned_from = load_checkpoint(checkpoint, mmap=True).get("FeatureDataModule", {})
    return differing(learned_from.get("flow", ours), ours)


def explain(video: Path, checkpoint: Path, picture: Path) -> None:
    """`make explain`: classify any video with a stage-two checkpoint and draw what it looked at."""
    task = load_sta_tsn(checkpoint)
    reader = VideoReader(video)
    if names := _flow_made_otherwise(checkpoint):
        print(
            f"The network learned from flow of other settings than are computed here ({names}): its judgement may suffer."
        )
    explained = explain_video(task, VideoRecord(video.stem, video, (), video.stem, len(reader)))
    if reader.fault:
        print(f"{video}: {reader.fault}. Only those are looked at.")
    shares = explained.output.scores[0].softmax(0)
    for index in shares.argsort(descending=True)[:5].tolist():
        print(f"{shares[index]:7.1%}  {task.classes[index]}")
    attention_figure(explained, f"{video.name}: {task.classes[int(shares.argmax())]}", picture)
    print(f"Attention: {picture.resolve()}")
