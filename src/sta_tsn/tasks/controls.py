"""What a tested head says of disturbed videos: whether a clip's score needed time at all.

- shuffled: the frames of the whole video in a random order, always the same one.
- reversed: the last frame first.
- single frame: the middle frame in the place of all.
- most, least attended dropped: in each segment a third of the frames, those with the highest or
  lowest weight, is taken out; the others keep their places.
"""

import torch
from torch import Tensor, nn

SHUFFLE_SEED = 0
DROPPED_SHARE = 3  # every third frame of a segment


def controlled_scores(
    classify: nn.Module, features: Tensor, takes_places: bool
) -> dict[str, Tensor]:
    """Return the scores (B, K) of each control by its name.

    Args:
        classify: a grid of heads, `classify(features) -> ActionOutput`.
        features: (B, N, T, ...).
        takes_places: whether the head is told where in the video a frame stands.
    """
    num_frames = features.shape[1] * features.shape[2]
    generator = torch.Generator().manual_seed(SHUFFLE_SEED)
    orders = {
        "shuffled": torch.randperm(num_frames, generator=generator),
        "reversed": torch.arange(num_frames).flip(0),
        "single frame": torch.full((num_frames,), num_frames // 2),
    }
    scores = {}
    for name, order in orders.items():
        scores[name] = classify.classify(_reordered(features, order)).scores.float().cpu()
    beta = classify.classify(features).temporal_weights
    num_dropped = features.shape[2] // DROPPED_SHARE
    if beta is None or num_dropped == 0:
        return scores
    ascending = beta.argsort(-1)  # (B, N, T)
    kept = {
        "most attended dropped": ascending[..., :-num_dropped],
        "least attended dropped": ascending[..., num_dropped:],
    }
    for name, frames in kept.items():
        frames = frames.sort(-1).values
        places = None
        if takes_places:
            first = torch.arange(features.shape[1], device=frames.device) * features.shape[2]
            places = frames + first[:, None]
        left = _chosen(features, frames)
        scores[name] = classify.classify(left, places).scores.float().cpu()
    return scores


def _reordered(features: Tensor, order: Tensor) -> Tensor:
    """Return features (B, N, T, ...) with the frames of a video in another order, (N T,)."""
    together = features.flatten(1, 2)[:, order.to(features.device)]
    return together.unflatten(1, features.shape[1:3])


def _chosen(features: Tensor, frames: Tensor) -> Tensor:
    """Return the frames (B, N, S) of each segment of features (B, N, T, ...)."""
    num_videos, num_segments = features.shape[:2]
    videos = torch.arange(num_videos, device=frames.device)
    segments = torch.arange(num_segments, device=frames.device)
    return features[videos[:, None, None], segments[None, :, None], frames]
