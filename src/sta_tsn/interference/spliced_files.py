"""The claim that spliced features are a spliced video's, put to the test on real files."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from sta_tsn.datasets.demo import write_video
from sta_tsn.features.frozen_features import FramesOfVideo, FrozenFeatures
from sta_tsn.interference.splicing import frame_at, lay, spliced_features
from sta_tsn.video import SegmentSampler, VideoReader


def largest_difference(
    clips: Sequence[FramesOfVideo],
    clip_features: FrozenFeatures,
    footage: Sequence[FramesOfVideo],
    footage_features: FrozenFeatures,
    share: Fraction,
) -> float:
    """Splice files without loss, encode what is sampled of them, and compare with the stored.

    Each clip is laid into a longer video, written as a file (FFV1), read as any video is, and the
    sampled frames are encoded.

    Args:
        clips: to splice.
        clip_features: where theirs are stored.
        footage: unrelated videos whose frames have the clips' size.
        footage_features: where theirs are stored.
        share: of unrelated frames.

    Returns:
        The largest difference between two features, over the largest feature. The stored ones are
        fp16, whose rounding alone gives up to 0.0005.
    """
    sampler = SegmentSampler()
    stored_footage = [footage_features.read(video.id) for video in footage]
    encoder = clip_features.encoder
    largest = 0.0
    with encoder.folded(), TemporaryDirectory() as folder:
        for number, clip in enumerate(clips):
            stored = clip_features.read(clip.id)
            splice = lay(len(stored), share, [len(video) for video in stored_footage], [number])
            used = {splice.before, splice.behind}
            pictures = {position: _frames(footage[position]) for position in used}
            own = _frames(clip)
            whole = [frame_at(splice, index, own, pictures) for index in range(splice.length)]
            file = Path(folder, f"{number}.mkv")
            write_video(file, np.stack(whole), codec="ffv1", pixel_format="bgr0")
            indices = sampler(splice.length).flatten().tolist()
            of_file = encoder.encode(VideoReader(file).read(indices))["features"][0]
            spliced, _ = spliced_features(splice, sampler, stored, stored_footage)
            spliced = spliced.flatten(0, 1).float()
            difference = (of_file - spliced).abs().max() / spliced.abs().max()
            largest = max(largest, float(difference))
    return largest


def _frames(video: FramesOfVideo) -> np.ndarray:
    return VideoReader(video.path, video.num_frames).read(video.indices)
