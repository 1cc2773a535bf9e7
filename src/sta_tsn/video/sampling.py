"""Which frames of a video are looked at: N segments of T frames, spread over the whole video."""

import torch
from torch import LongTensor


class SegmentSampler:
    """Sample globally, as STA-TSN does (Eq 1-2): a frame from each of N*T equal bins of the video.

    Reading (the paper says "globally sampled" only): training draws uniformly inside each bin,
    testing takes each bin's centre. Indices ascend; in videos shorter than N*T frames they repeat.

    Args:
        num_segments: N.
        frames_per_segment: T (the paper's k).
        training: draw inside the bins instead of taking their centres.
        stack_length: consecutive frames that one index stands for (10 for flow stacks, 1 for RGB).
            Stacks lie inside the video; in one shorter than a stack every index is 0.

    Example:
        >>> SegmentSampler(3, 2)(60).tolist()
        [[5, 15], [25, 35], [45, 55]]
    """

    def __init__(
        self,
        num_segments: int = 3,
        frames_per_segment: int = 10,
        training: bool = False,
        stack_length: int = 1,
    ):
        for name, value in (
            ("num_segments", num_segments),
            ("frames_per_segment", frames_per_segment),
            ("stack_length", stack_length),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        self.num_segments = num_segments
        self.frames_per_segment = frames_per_segment
        self.training = training
        self.stack_length = stack_length

    def __call__(self, num_frames: int, generator: torch.Generator | None = None) -> LongTensor:
        """Return 0-based ascending indices (N, T) of each stack's first frame.

        Args:
            num_frames: frames that decode.
            generator: source of the training draws; torch's global one where None.

        Raises:
            ValueError: `num_frames` < 1.
        """
        if num_frames < 1:
            raise ValueError(f"num_frames must be at least 1, not {num_frames}")
        num_starts = max(1, num_frames - self.stack_length + 1)
        num_bins = self.num_segments * self.frames_per_segment
        inside = 0.5  # share of each bin
        if self.training:
            inside = torch.rand(num_bins, generator=generator, dtype=torch.float64)
        indices = ((torch.arange(num_bins) + inside) * num_starts / num_bins).long()
        return indices.clamp(max=num_starts - 1).view(self.num_segments, self.frames_per_segment)
