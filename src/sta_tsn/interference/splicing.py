"""Where a clip lies in a longer video, and which frames of what are then looked at."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from torch import LongTensor, Tensor, stack

from sta_tsn.video import SegmentSampler

SHARES = (Fraction(0), Fraction(1, 3), Fraction(2, 3), Fraction(5, 6))  # of unrelated frames


@dataclass(frozen=True)
class Splice:
    """Place a clip with one unrelated video before it and another one behind it.

    Footage that ends begins anew.

    Args:
        length: frames of the whole.
        first: frame of the clip in it, 0-based.
        last: frame of the clip in it, 0-based and inclusive.
        before: position in the list of footage of what lies before the clip.
        behind: position of what lies behind it.
        before_offset: the frame with which the former begins.
        behind_offset: the frame with which the latter begins.
    """

    length: int
    first: int
    last: int
    before: int
    behind: int
    before_offset: int
    behind_offset: int

    def is_clip(self, frame: int) -> bool:
        """Tell the clip's frames from unrelated ones."""
        return self.first <= frame <= self.last


def lay(num_frames: int, share: Fraction, footage_frames: Sequence[int], seed: list[int]) -> Splice:
    """Lay a clip at a random place among unrelated frames.

    Args:
        num_frames: of the clip.
        share: of unrelated frames in the whole, 0 <= share < 1.
        footage_frames: frames of each unrelated video, two at least.
        seed: of the place and of the footage. The same seed gives the same footage and the same
            place, relative to what lies around it, for every share.

    Raises:
        ValueError: `share` is none, or fewer than two unrelated videos are given.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must be at least 0 and less than 1, not {share}")
    if len(footage_frames) < 2:
        raise ValueError(f"two unrelated videos are needed, not {len(footage_frames)}")
    generator = np.random.default_rng(seed)
    place = generator.random()
    before, behind = generator.choice(len(footage_frames), 2, replace=False).tolist()
    before_offset = int(generator.integers(footage_frames[before]))
    behind_offset = int(generator.integers(footage_frames[behind]))
    num_unrelated = round(num_frames / (1 - share)) - num_frames
    first = int(place * (num_unrelated + 1))
    last = first + num_frames - 1
    length = num_frames + num_unrelated
    return Splice(length, first, last, before, behind, before_offset, behind_offset)


def frame_at(splice: Splice, index: int, clip: Sequence, footage: Sequence[Sequence]):
    """Return what the spliced video shows at a frame.

    Args:
        splice: where the clip lies.
        index: of the frame in the spliced video.
        clip: the clip's frames, or their features.
        footage: the same of every unrelated video.
    """
    if splice.is_clip(index):
        return clip[index - splice.first]
    if index < splice.first:
        video = footage[splice.before]
        return video[(splice.before_offset + index) % len(video)]
    video = footage[splice.behind]
    return video[(splice.behind_offset + index - splice.last - 1) % len(video)]


def spliced_features(
    splice: Splice, sampler: SegmentSampler, clip: Tensor, footage: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Put together the features of the sampled frames of a spliced video.

    Args:
        splice: where the clip lies.
        sampler: which frames of the spliced video are looked at.
        clip: (n, D) of the clip's frames.
        footage: (m, D) of every unrelated video's frames.

    Returns:
        features (N, T, D), and bool (N, T): which frames are the clip's.
    """
    indices: LongTensor = sampler(splice.length)
    sampled = [frame_at(splice, index, clip, footage) for index in indices.flatten().tolist()]
    features = stack(sampled).unflatten(0, indices.shape)
    key_frames = (indices >= splice.first) & (indices <= splice.last)
    return features, key_frames
