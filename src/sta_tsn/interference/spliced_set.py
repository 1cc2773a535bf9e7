"""All clips of one side of a split, spliced: what the rows learn from and are tested on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from sta_tsn.datasets import VideoRecord
from sta_tsn.interference.splicing import Splice, lay, spliced_features
from sta_tsn.video import SegmentSampler, multi_hot


@dataclass(frozen=True)
class SplicedSet:
    """Hold V spliced videos.

    Args:
        ids: V names.
        groups: the source that each clip was cut from.
        labels: float (V, K).
        features: float (V, N, T, D).
        key_frames: bool (V, N, T), True where a frame is the clip's.
    """

    ids: list[str]
    groups: list[str]
    labels: Tensor
    features: Tensor
    key_frames: Tensor

    def subset(self, chosen: Sequence[int]) -> "SplicedSet":
        """Return the videos at these positions."""
        return SplicedSet(
            [self.ids[index] for index in chosen],
            [self.groups[index] for index in chosen],
            self.labels[list(chosen)],
            self.features[list(chosen)],
            self.key_frames[list(chosen)],
        )


def splice_of(
    num_frames: int, share: Fraction, footage: Sequence[Tensor], split: int, position: int
) -> Splice:
    """Return where the clip at a position among its side's clips lies; the same in every run."""
    return lay(num_frames, share, [len(video) for video in footage], [split, position])


def build_spliced_set(
    records: Sequence[VideoRecord],
    read: Callable[[str], Tensor],
    footage: Sequence[Tensor],
    share: Fraction,
    split: int,
    num_classes: int,
) -> SplicedSet:
    """Splice every clip once.

    Args:
        records: of the clips.
        read: gives the features (n, D) of the clip of that id.
        footage: features (m, D) of this side's unrelated videos.
        share: of unrelated frames.
        split: seeds the places, together with each clip's position.
        num_classes: K.
    """
    sampler = SegmentSampler()
    features = []
    key_frames = []
    for position, record in enumerate(records):
        clip = read(record.id)
        splice = splice_of(len(clip), share, footage, split, position)
        frames, own = spliced_features(splice, sampler, clip, footage)
        features.append(frames.float())
        key_frames.append(own)
    return SplicedSet(
        [record.id for record in records],
        [record.group for record in records],
        torch.stack([multi_hot(record.labels, num_classes) for record in records]),
        torch.stack(features),
        torch.stack(key_frames),
    )


def standardized(train: SplicedSet, test: SplicedSet) -> tuple[SplicedSet, SplicedSet]:
    """Return both with features of mean 0 and deviation 1 over the training frames.

    A network of random weights gives all images nearly the same feature.
    """
    mean = train.features.mean((0, 1, 2))
    deviation = train.features.std((0, 1, 2)).clamp(min=1e-6)
    return (
        replace(train, features=(train.features - mean) / deviation),
        replace(test, features=(test.features - mean) / deviation),
    )
