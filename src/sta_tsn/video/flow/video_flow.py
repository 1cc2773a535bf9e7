"""TV-L1 flow of one video: of all its frames, or of those that a network looks at."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from sta_tsn.datasets import VideoRecord
from sta_tsn.video.crops import FRAME_HEIGHT_PX, FRAME_WIDTH_PX
from sta_tsn.video.flow.flow_files import BOUND_PX, JPEG_QUALITY
from sta_tsn.video.flow.flow_store import FlowStore
from sta_tsn.video.flow.tvl1 import TVL1Settings, tvl1_flow
from sta_tsn.video.reader import VideoReader
from sta_tsn.video.sampling import SegmentSampler

# By default: one pair stays in a CPU's cache; 64 take about 2 GB of a GPU.
PAIRS_AT_ONCE = {"cpu": 1, "cuda": 64}


@dataclass(frozen=True)
class FlowSettings:
    """Say how flow is made and stored: TSN's way, frames resized to 340x256, +-20 px in 8 bits.

    Args:
        width_px: of the resized frames.
        height_px: of the resized frames.
        bound_px: motion that is stored as 0 or 255; more is clipped.
        jpeg_quality: of the stored pictures.
        tvl1: of the algorithm.
    """

    width_px: int = FRAME_WIDTH_PX
    height_px: int = FRAME_HEIGHT_PX
    bound_px: float = BOUND_PX
    jpeg_quality: int = JPEG_QUALITY
    tvl1: TVL1Settings = field(default_factory=TVL1Settings)

    def as_dict(self) -> dict:
        return asdict(self)


def video_flow(
    reader: VideoReader,
    device: torch.device,
    fused: bool | None = None,
    pairs_at_once: int | None = None,
) -> Iterator[Tensor]:
    """Yield the flow (2, 256, 340) of each pair of neighbouring frames.

    Args:
        reader: of the video.
        device: that works.
        fused: see `tvl1_flow`.
        pairs_at_once: so many frames and one more are in memory; None: PAIRS_AT_ONCE.
    """
    at_once = pairs_at_once or PAIRS_AT_ONCE[device.type]
    frames = (torch.from_numpy(grey(frame)) for frame in reader.frames())
    chunk = list(islice(frames, 1))
    while True:
        chunk = [*chunk[-1:], *islice(frames, at_once)]
        if len(chunk) < 2:
            return
        images = torch.stack(chunk).to(device).float()
        yield from tvl1_flow(images[:-1], images[1:], fused)


def flow_of_pairs(reader: VideoReader, pairs: set[int], device: torch.device) -> Iterator[Tensor]:
    """Return what `video_flow` yields, computed for `pairs` alone, which are counted from 0.

    Zeros (2, 256, 340) stand for the others.
    """
    seen = {}
    for number, frame in enumerate(reader.frames()):
        if number in pairs or number - 1 in pairs:
            seen[number] = grey(frame)
    flows: dict[int, Tensor] = {}
    wanted = sorted(pairs)
    at_once = PAIRS_AT_ONCE[device.type]
    for start in track(range(0, len(wanted), at_once), "Computing optical flow"):
        chunk = wanted[start : start + at_once]
        previous = np.stack([seen[number] for number in chunk])
        following = np.stack([seen[number + 1] for number in chunk])
        found = tvl1_flow(
            torch.from_numpy(previous).to(device).float(),
            torch.from_numpy(following).to(device).float(),
        )
        flows |= zip(chunk, found.cpu(), strict=True)
    still = torch.zeros(2, FRAME_HEIGHT_PX, FRAME_WIDTH_PX)
    return (flows.get(number, still) for number in range(len(reader) - 1))


@contextmanager
def stored_flow(
    record: VideoRecord, flow: FlowStore | None, sampler: SegmentSampler
) -> Iterator[FlowStore]:
    """Yield `flow`, or where None a store for the time being that holds this video's flow alone.

    Computed is what stacks at the sampler's starts show.
    """
    if flow:
        yield flow
        return
    starts = sampler(record.num_frames - 1)
    seen = (starts[..., None] + torch.arange(sampler.stack_length)).clamp(max=record.num_frames - 2)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with TemporaryDirectory() as folder:
        store = FlowStore(folder)
        pairs = set(seen.flatten().tolist())
        store.write(record, flow_of_pairs(VideoReader(record.path), pairs, device))
        yield store


def grey(frame: np.ndarray) -> np.ndarray:
    """Return a uint8 RGB frame of any size as grey uint8 (256, 340)."""
    flat = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return cv2.resize(flat, (FRAME_WIDTH_PX, FRAME_HEIGHT_PX), interpolation=cv2.INTER_AREA)
