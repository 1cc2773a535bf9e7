"""One row, fitted on spliced training videos and tested on spliced test videos."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sta_tsn.features import judge_frames
from sta_tsn.interference.rows import InterferenceRow, SplicedClassifier
from sta_tsn.interference.spliced_set import SplicedSet
from sta_tsn.models import temporal_attention_regularization


@dataclass(frozen=True)
class FitSettings:
    """Say how every row is fitted: by AdamW, with a cosine to 0.

    Args:
        iterations: steps.
        batch_size: videos a step.
        lr: at the start.
        weight_decay: AdamW's.
        dropout: before the fully connected layer.
        hidden_dim: of the LSTM, and of attentive pooling.
    """

    iterations: int = 300
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 1e-2
    dropout: float = 0.5
    hidden_dim: int = 128


def relevant_frames(train: SplicedSet, max_fitted: int = 6_000) -> Tensor:
    """Return which training frames show their video's class, bool (V, N, T), as Eq 13 judges them.

    The classifiers know the videos' labels alone, not where a clip lies.
    """
    return judge_frames(list(train.features), train.labels, train.groups, max_fitted)


def fit(
    row: InterferenceRow,
    train: SplicedSet,
    relevant: Tensor | None,
    settings: FitSettings,
    seed: int,
) -> SplicedClassifier:
    """Return the fitted row.

    Args:
        row: which pooling, and whether l_MSE counts.
        train: what is learned from.
        relevant: frames judged true (see `relevant_frames`); for regularized rows.
        settings: the same for all rows.
        seed: of the initial weights, of dropout and of the order of videos.
    """
    torch.manual_seed(seed)
    num_videos, num_segments, frames_each, feature_dim = train.features.shape
    pooling = row.build(feature_dim, settings.hidden_dim, num_segments * frames_each)
    model = SplicedClassifier(pooling, feature_dim, train.labels.shape[1], settings.dropout)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.iterations)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(settings.iterations):
        if len(order) < settings.batch_size:
            order = torch.cat([order, torch.randperm(num_videos)])
        batch = order[: settings.batch_size]
        order = order[settings.batch_size :]
        output = model(train.features[batch], train.key_frames[batch])
        loss = F.cross_entropy(output.scores, train.labels[batch])
        if row.regularized:
            beta = output.temporal_weights * num_segments
            loss = loss + temporal_attention_regularization(beta, relevant[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def scores_and_weights(model: SplicedClassifier, videos: SplicedSet) -> tuple[Tensor, Tensor]:
    """Return scores (V, K) and the weights of the frames (V, N, T), which sum to 1 in a video."""
    scores = []
    weights = []
    parts = zip(videos.features.split(128), videos.key_frames.split(128), strict=True)
    for features, key_frames in parts:
        output = model(features, key_frames)
        scores.append(output.scores)
        weights.append(output.temporal_weights)
    return torch.cat(scores), torch.cat(weights)
