"""Temporal attention of all test videos beside the frames of the action."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sta_tsn.datasets import VideoDataset, VideoRecord
from sta_tsn.evaluation import ScoreTable
from sta_tsn.features.feature_store import FeatureStore


def sampled_key_frames(
    dataset: VideoDataset, videos: Sequence[VideoRecord], store: FeatureStore
) -> np.ndarray | None:
    """Return which of the tested frames show the action, bool (V, N, T).

    None where the dataset does not know.

    Args:
        dataset: that may know.
        videos: V of them.
        store: stage one's features as the run reads them, which say which frames were tested.
    """
    sampled = []
    for record in videos:
        key_frames = dataset.key_frames(record)
        if key_frames is None:
            return None
        sampled.append(key_frames[store.read(record.id)["frame_indices"].numpy()])
    return np.stack(sampled)


def beta_figure(table: ScoreTable, key_frames: np.ndarray | None) -> Figure:
    """Draw beta over what uniform attention gives (1), one line a test video.

    A video's N segments stand side by side; dots are on key frames.

    Args:
        table: with beta.
        key_frames: bool (V, N, T); None: no dots.
    """
    relative = (table.temporal_weights * table.temporal_weights.shape[2]).numpy()  # (V, N, T)
    num_videos, num_segments, num_frames = relative.shape
    figure = Figure(figsize=(10, min(12, 1.6 + 0.22 * num_videos)), layout="constrained")
    axes = figure.subplots()
    limit = float(max(2.0, np.quantile(relative, 0.99)))
    lines = relative.reshape(num_videos, -1)
    image = axes.imshow(lines, aspect="auto", cmap="viridis", vmin=0, vmax=limit)
    if key_frames is not None:
        rows, columns = np.nonzero(key_frames.reshape(num_videos, -1))
        axes.plot(columns, rows, ".", color="white", markersize=4, label="frame shows the action")
        axes.legend(
            loc="upper left", bbox_to_anchor=(0, -0.06), facecolor="grey", labelcolor="white"
        )
    for segment in range(1, num_segments):
        axes.axvline(segment * num_frames - 0.5, color="white", linewidth=1.5)
    names = [name.rpartition("/")[2] for name in table.ids]
    axes.set_yticks(range(num_videos), names, fontsize=min(7, 700 / num_videos))
    axes.set(xlabel=f"{num_segments} segments of {num_frames} frames", title="β over uniform")
    figure.colorbar(image, fraction=0.03)
    return figure


def beta_on_key_frames(table: ScoreTable, key_frames: np.ndarray) -> pd.DataFrame:
    """Return the mean of beta over uniform on frames that show the action and on others.

    Only segments that hold both count.

    Args:
        table: with beta.
        key_frames: bool (V, N, T).
    """
    relative = (table.temporal_weights * table.temporal_weights.shape[2]).numpy()
    mixed = key_frames.any(2) & ~key_frames.all(2)
    parts = {
        "frames of the action": key_frames & mixed[..., None],
        "other frames": ~key_frames & mixed[..., None],
    }
    counted = {}
    for name, where in parts.items():
        mean = relative[where].mean()
        counted[name] = {"mean β over uniform": mean, "frames": int(where.sum())}
    return pd.DataFrame.from_dict(counted, orient="index")
