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
    """bool (V, N, T): which of the tested frames show the action; None where the dataset does not know.

    Args:
        store: stage one's features as the run reads them, which say which frames were tested.
    """
    known = [dataset.key_frames(record) for record in videos]
    if any(one is None for one in known):
        return None
    return np.stack(
        [
            one[store.read(record.id)["frame_indices"].numpy()]
            for one, record in zip(known, videos, strict=True)
        ]
    )


def beta_figure(table: ScoreTable, key_frames: np.ndarray | None) -> Figure:
    """One line a test video: beta over what uniform attention gives (1), its N segments side by side; dots on key frames."""
    relative = (table.temporal_weights * table.temporal_weights.shape[2]).numpy()  # (V, N, T)
    videos, segments, frames = relative.shape
    figure = Figure(figsize=(10, min(12, 1.6 + 0.22 * videos)), layout="constrained")
    axes = figure.subplots()
    limit = float(max(2.0, np.quantile(relative, 0.99)))
    image = axes.imshow(
        relative.reshape(videos, -1), aspect="auto", cmap="viridis", vmin=0, vmax=limit
    )
    if key_frames is not None:
        rows, columns = np.nonzero(key_frames.reshape(videos, -1))
        axes.plot(columns, rows, ".", color="white", markersize=4, label="frame shows the action")
        axes.legend(
            loc="upper left", bbox_to_anchor=(0, -0.06), facecolor="grey", labelcolor="white"
        )
    for segment in range(1, segments):
        axes.axvline(segment * frames - 0.5, color="white", linewidth=1.5)
    names = [name.rpartition("/")[2] for name in table.ids]
    axes.set_yticks(range(videos), names, fontsize=min(7, 700 / videos))
    axes.set(xlabel=f"{segments} segments of {frames} frames", title="β over uniform")
    figure.colorbar(image, fraction=0.03)
    return figure


def beta_on_key_frames(table: ScoreTable, key_frames: np.ndarray) -> pd.DataFrame:
    """Mean of beta over uniform, on frames that show the action and on others, in segments that hold both."""
    relative = (table.temporal_weights * table.temporal_weights.shape[2]).numpy()
    mixed = key_frames.any(2) & ~key_frames.all(2)
    inside, outside = key_frames & mixed[..., None], ~key_frames & mixed[..., None]
    lines = {"frames of the action": inside, "other frames": outside}
    counted = {
        name: {"mean β over uniform": relative[where].mean(), "frames": int(where.sum())}
        for name, where in lines.items()
    }
    return pd.DataFrame.from_dict(counted, orient="index")
