"""STA-LSTM's attention: which joints count, on the skeletons, and which frames, as a curve."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.collections import LineCollection

from sta_tsn.artefacts import load_checkpoint, save_figure
from sta_tsn.datasets import SkeletonDataset, VideoRecord
from sta_tsn.evaluation import ScoreTable
from sta_tsn.models import ActionOutput
from sta_tsn.skeletons import normalised
from sta_tsn.tasks import SkeletonAttention

NUM_EXPLAINED = 4
NUM_SHOWN = 8


def draw_skeleton_attention(
    checkpoint: Path,
    scores: Path,
    dataset: SkeletonDataset,
    test_videos: list[VideoRecord],
    folder: Path,
) -> list[tuple[str, str]]:
    """Draw a few test sequences of different classes, drawn at random.

    Attention is that of the sequence as it is; what it was taken for is what the score table says,
    of all views.

    Args:
        checkpoint: of the network.
        scores: its score table.
        dataset: reads the sequences.
        test_videos: all that were tested.
        folder: to write to.

    Returns:
        File name and caption of each picture.
    """
    table = ScoreTable.load(scores)
    preparation = load_checkpoint(checkpoint, mmap=True)["datamodule_hyper_parameters"]
    task = SkeletonAttention.load_from_checkpoint(
        checkpoint, map_location="cpu", weights_only=True
    ).eval()
    figures = []
    shown = set()
    for index in np.random.default_rng(0).permutation(len(test_videos)):
        record = test_videos[index]
        if record.labels in shown or len(shown) == NUM_EXPLAINED:
            continue
        shown.add(record.labels)
        sequence = normalised(dataset.read(record.path), dataset.skeleton, **preparation)
        with torch.no_grad():
            output = task(torch.from_numpy(sequence.copy()).flatten(1, 2)[None])
        true = task.classes[record.labels[0]]
        said = table.classes[int(table.scores[table.ids.index(record.id)].argmax())]
        answer = f"{true}, recognised" if said == true else f"{true}, taken for {said}"
        name = f"attention_skeleton_{len(shown)}.png"
        title = f"{record.id}: {answer}"
        skeleton_figure(sequence, dataset.skeleton.bones, output, title, folder / name)
        caption = f"{title}. Joints by α (size and colour), frames by β (curve)."
        figures.append((name, caption))
    return figures


def skeleton_figure(
    sequence: np.ndarray, bones: tuple, output: ActionOutput, title: str, path: Path
) -> None:
    """Draw eight frames of a sequence as the camera saw them, and beta over all frames.

    Joints are as large and dark as their alpha is, relative to a uniform 1/J; the text gives the
    range.

    Args:
        sequence: (T, P, J, 3), P persons of J joints.
        bones: pairs of joints.
        output: alpha and beta.
        title: above the figure.
        path: of the file.
    """
    num_frames, num_persons, num_joints, _ = sequence.shape
    alpha = output.spatial_weights[0].unflatten(-1, (num_persons, num_joints)).numpy()
    relative = alpha / alpha.sum((1, 2), keepdims=True) * num_persons * num_joints
    beta = output.temporal_weights[0].numpy()
    chosen = np.unique(np.linspace(0, num_frames - 1, NUM_SHOWN).round().astype(int))
    figure = plt.figure(figsize=(1.9 * len(chosen), 4.8), layout="constrained")
    grid = figure.add_gridspec(2, len(chosen), height_ratios=(2.2, 1))
    low = sequence[..., :2].min((0, 1, 2)) - 0.5
    high = sequence[..., :2].max((0, 1, 2)) + 0.5
    for column, frame in enumerate(chosen):
        axes = figure.add_subplot(grid[0, column])
        dots = _draw_skeletons(axes, sequence[frame], relative[frame], bones, relative.max())
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
        axes.set_title(f"frame {frame}")
        axes.axis("off")
    figure.colorbar(dots, ax=axes, label="α · joints", shrink=0.8)
    curve = figure.add_subplot(grid[1, :])
    curve.plot(beta, color="#cc6677", marker="o", markersize=3)
    curve.vlines(chosen, 0, beta[chosen], color="0.8", linewidth=0.8, zorder=0)
    ceiling = 1.1 * max(float(beta.max()), 1e-6)
    curve.set(xlabel="frame", ylabel="β", xlim=(-0.5, num_frames - 0.5), ylim=(0, ceiling))
    scale = f"α · joints from {relative.min():.2f} to {relative.max():.2f} (uniform 1)"
    figure.suptitle(f"{title}\n{scale}", fontsize=12)
    save_figure(figure, path)
    plt.close(figure)


def _draw_skeletons(
    axes: plt.Axes, joints: np.ndarray, weights: np.ndarray, bones: tuple, most: float
):
    """Draw the persons (P, J, 3) of one frame by their weights (P, J); return the dots."""
    for person, own in zip(joints[..., :2], weights, strict=True):
        lines = LineCollection(person[list(bones)], colors="0.6", linewidths=1.2, zorder=1)
        axes.add_collection(lines)
        sizes = 6 + 28 * own
        x, y = person.T
        dots = axes.scatter(x, y, s=sizes, c=own, cmap="YlOrRd", vmin=0, vmax=most, zorder=2)
        dots.set_edgecolor("0.3")
        dots.set_linewidth(0.4)
    return dots
