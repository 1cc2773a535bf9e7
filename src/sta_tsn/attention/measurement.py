"""Does attention look where the action is, and does the model need what it looks at?

Measured on a tested run of STA-TSN.
"""

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
from sta_tsn.video import FlowStore, crop_masks, multi_hot
from sta_tsn.video.flow.flow_store import FLOW_STACK

NUM_DROPPED = 3  # frames of each segment


def measure_attention(
    task: TemporalAttentionTSN,
    store: FeatureStore,
    dataset: VideoDataset,
    videos: list[VideoRecord],
    flow: FlowStore | None = None,
) -> dict:
    """Score a network against the ground truth, by dropping frames and by covering areas.

    All on the centre crop, whose middle is the video's. Reads the stored features of stage one,
    and for covered areas the videos.

    Args:
        task: the network.
        store: its stage one's features of the videos.
        dataset: says where the actor and which frames the action are, as far as it knows.
        videos: to score.
        flow: where the videos' flow is stored, for a network that sees it.

    Returns:
        Each measure's mean, and under `by_video` the means of each video.
    """
    if flow:
        videos = [record for record in videos if record.num_frames > 1]
    model = task.model
    spatial = {}  # by video
    temporal = {}  # by video
    scores = defaultdict(list)
    generator = np.random.default_rng(0)
    for record in track(videos, description="Scoring attention"):
        stored = store.read(record.id)
        features = stored["features"][0].float()  # (N, T, D)
        with torch.no_grad():
            beta = model.classify(features[None]).temporal_weights[0]
        for name, score in _dropped_scores(task, features, beta, generator).items():
            scores[f"dropped_{name}"].append(score)
        for name, score in covered_scores(task, record, flow, generator).items():
            scores[f"covered_{name}"].append(score)
        shown = stored["frame_indices"]
        if flow:  # a stack's middle frame
            shown = (shown + FLOW_STACK // 2).clamp(max=record.num_frames - 1)
        mask = dataset.actor_mask(record)
        if mask is not None and "spatial_weights" in stored:
            looked_at = shown.flatten().tolist()
            kept = task.keeps_proportions
            actor = torch.from_numpy(crop_masks(mask, looked_at, model.input_px, kept))
            alpha = stored["spatial_weights"][0].float().flatten(0, 1)
            spatial[record] = spatial_scores(alpha, actor)
        key_frames = dataset.key_frames(record)
        if key_frames is not None:
            temporal[record] = key_frame_scores(beta, torch.from_numpy(key_frames)[shown])
    found = summary(spatial)
    for name, value in summary(temporal).items():
        found[f"key_frame_{name}"] = value
    found["by_video"] = {
        "pointing": by_video(spatial, "pointing", "pointing_centre"),
        "key_frame_recall": by_video(temporal, "recall", "recall_uniform"),
    }
    truth = torch.stack([multi_hot(record.labels, len(dataset.classes)) for record in videos])
    for name, one in scores.items():
        found[name] = round(100 * micro_accuracy(torch.stack(one), truth), 1)
    return found


@torch.no_grad()
def _dropped_scores(
    task: TemporalAttentionTSN,
    features: torch.Tensor,
    beta: torch.Tensor,
    generator: np.random.Generator,
) -> dict[str, torch.Tensor]:
    """Return the scores (K,) of features (N, T, D) without some frames; {} where T is too small."""
    if beta.shape[1] <= NUM_DROPPED:
        return {}
    scores = {}
    for name, kept in frames_to_keep(beta, generator).items():
        chosen = kept[..., None].expand(-1, -1, features.shape[-1])
        scores[name] = task.model.classify(features.gather(1, chosen)[None]).scores[0]
    return scores


def frames_to_keep(beta: torch.Tensor, generator: np.random.Generator) -> dict[str, torch.Tensor]:
    """Return the frames (N, T - k) of each segment that stay, ascending, by which are dropped.

    `none`; k < T of them: the `most` and the `least` attended, and `random` ones.

    Args:
        beta: (N, T).
        generator: of the random ones.
    """
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


def summary(measured: dict[VideoRecord, dict[str, np.ndarray]]) -> dict[str, float]:
    """Return the mean of every measure over all frames (segments), NaN left out.

    In %, but ratios as they are. Measures that are NaN everywhere are absent.

    Args:
        measured: by video, each measure's values of its frames (F,) or segments (N,), shares of 1;
            NaN where there is no truth.
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
    """Return columns video, group, attention and baseline: means of each video that has truth.

    Args:
        measured: as for `summary`; the means are shares of 1.
        score: the measure of attention.
        baseline: the measure of what it is held against.
    """
    columns = {"video": [], "group": [], "attention": [], "baseline": []}
    for record, one in measured.items():
        if np.isnan(one[score]).all():
            continue
        columns["video"].append(record.id)
        columns["group"].append(record.group)
        columns["attention"].append(float(np.nanmean(one[score])))
        columns["baseline"].append(float(np.nanmean(one[baseline])))
    return columns
