"""Does attention look where the action is, and does the model need what it looks at? Measured on a tested STA-TSN run."""

from collections import defaultdict

import numpy as np
import torch
from rich.progress import track

from sta_tsn.attention.localisation import key_frame_scores, spatial_scores
from sta_tsn.attention.occlusion import covered_scores
from sta_tsn.datasets import VideoDataset, VideoRecord
from sta_tsn.evaluation.metrics import micro_accuracy
from sta_tsn.features.feature_store import FeatureStore
from sta_tsn.tasks import TemporalAttentionTSN
from sta_tsn.video import FlowStore, crop_masks
from sta_tsn.video.flow.flow_store import FLOW_STACK

NUM_DROPPED = 3  # frames of each segment


def measure_attention(
    task: TemporalAttentionTSN,
    store: FeatureStore,
    dataset: VideoDataset,
    videos: list[VideoRecord],
    flow: FlowStore | None = None,
) -> dict:
    """Score a network against the dataset's ground truth (as far as it has one), by dropping frames and covering areas.

    All on the centre crop, whose middle is the video's. Reads the stored features of stage one, and for covered areas the videos.
    """
    if flow:
        videos = [record for record in videos if record.num_frames > 1]
    model = task.model
    spatial, temporal, scores, labels = {}, {}, defaultdict(list), []  # the first two by video
    generator = np.random.default_rng(0)
    for record in track(videos, description="Scoring attention"):
        stored = store.read(record.id)
        features, indices = stored["features"][:1].float(), stored["frame_indices"]
        with torch.no_grad():
            beta = model.classify(features[0][None]).temporal_weights[0]
            for name, kept in (
                frames_to_keep(beta, generator).items() if beta.shape[1] > NUM_DROPPED else ()
            ):
                scores[f"dropped_{name}"].append(
                    model.classify(_choose(features[0], kept)[None]).scores[0]
                )
        for name, covered in covered_scores(task, record, flow, generator).items():
            scores[f"covered_{name}"].append(covered)
        labels.append(
            torch.zeros(len(dataset.classes)).index_fill(
                0, torch.tensor(record.labels, dtype=torch.long), 1
            )
        )
        shown = (
            (indices + FLOW_STACK // 2).clamp(max=record.num_frames - 1) if flow else indices
        )  # a stack's middle frame
        mask = dataset.actor_mask(record)
        if mask is not None and "spatial_weights" in stored:
            looked_at = shown.flatten().tolist()
            kept = task.keeps_proportions
            seen = torch.from_numpy(crop_masks(mask, looked_at, model.input_px, kept))
            spatial[record] = spatial_scores(
                stored["spatial_weights"][0].float().flatten(0, 1), seen
            )
        key_frames = dataset.key_frames(record)
        if key_frames is not None:
            temporal[record] = key_frame_scores(beta, torch.from_numpy(key_frames)[shown])
    found = summary(spatial) | {
        f"key_frame_{name}": value for name, value in summary(temporal).items()
    }
    found["by_video"] = {
        "pointing": by_video(spatial, "pointing", "pointing_centre"),
        "key_frame_recall": by_video(temporal, "recall", "recall_uniform"),
    }
    truth = torch.stack(labels)
    found |= {
        name: round(100 * micro_accuracy(torch.stack(one), truth), 1)
        for name, one in scores.items()
    }
    return found


def frames_to_keep(beta: torch.Tensor, generator: np.random.Generator) -> dict[str, torch.Tensor]:
    """Frames (N, T - k) of each segment that stay, ascending, when the k < T most, least attended or random of beta (N, T) are dropped."""
    ranked = beta.argsort(1)
    count = beta.shape[1] - NUM_DROPPED
    drawn = torch.from_numpy(np.stack([generator.permutation(beta.shape[1]) for _ in beta]))
    kept = {
        "none": ranked,
        "most": ranked[:, :count],
        "least": ranked[:, -count:],
        "random": drawn[:, :count],
    }
    return {name: frames.sort(1).values for name, frames in kept.items()}


def _choose(features: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    return features.gather(
        1, frames[..., None].expand(-1, -1, features.shape[-1])
    )  # (N, T, D) -> (N, kept, D)


def summary(measured: dict[VideoRecord, dict[str, np.ndarray]]) -> dict[str, float]:
    """Mean of every measure over all frames (segments), NaN left out, in % but for ratios. Measures that are NaN everywhere are absent.

    Args:
        measured: by video, each measure's values of its frames (F,) or segments (N,), shares of 1; NaN where there is no truth.
    """
    found = {}
    for name in next(iter(measured.values()), ()):
        values = np.concatenate([one[name] for one in measured.values()])
        if np.isnan(values).all():
            continue
        mean = float(np.nanmean(values))
        found[name] = round(mean, 3) if name.startswith("mass") else round(100 * mean, 1)
    return found


def by_video(
    measured: dict[VideoRecord, dict[str, np.ndarray]], score: str, baseline: str
) -> dict[str, list]:
    """Columns video, group, attention and baseline: means of each video that has truth, shares of 1.

    Args:
        measured: as for `summary`.
        score, baseline: two of the measures.
    """
    shown = [record for record, one in measured.items() if not np.isnan(one[score]).all()]
    means = {
        column: [float(np.nanmean(measured[record][name])) for record in shown]
        for column, name in (("attention", score), ("baseline", baseline))
    }
    return {
        "video": [record.id for record in shown],
        "group": [record.group for record in shown],
        **means,
    }
