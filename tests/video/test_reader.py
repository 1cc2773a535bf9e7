import multiprocessing
import struct

import av
import numpy as np
import pytest

from sta_tsn.datasets.demo import write_video
from sta_tsn.datasets.manifest import probe
from sta_tsn.errors import VideoReadError
from sta_tsn.video import SegmentSampler, VideoReader


def test_frames_are_the_ones_asked_for(index_video):
    indices = [0, 49, 7, 7, 23, 1]
    frames = VideoReader(index_video).read(indices)
    assert frames.shape == (6, 48, 64, 3)
    assert frames.dtype == np.uint8
    assert (frames == 5 * np.array(indices)[:, None, None, None]).all()


def test_length_is_what_decodes(index_video):
    assert len(VideoReader(index_video)) == 50


def test_headers_that_lie(shared_data):
    """HMDB51's XviD files declare one frame more than decodes."""
    path = next((shared_data / "hmdb51" / "hmdb51_org" / "golf").glob("*.avi"))
    with av.open(str(path)) as container:
        declared = container.streams.video[0].frames
    assert len(VideoReader(path)) == declared - 1


def test_real_clips_give_the_frames_that_decoding_in_order_gives(shared_data):
    clips = (
        sorted(shared_data.glob("hmdb51/*/*/*.avi"))[:3]
        + sorted(shared_data.glob("*/*/*/*.avi"))[::120]
    )
    clips += sorted((shared_data / "misc").iterdir())
    assert len(clips) > 12
    for path in clips:
        video = VideoReader(path, len(VideoReader(path)))
        indices = SegmentSampler(3, 4)(len(video)).flatten().tolist()
        with av.open(str(path)) as container:
            in_order = {
                i: frame.to_ndarray(format="rgb24")
                for i, frame in enumerate(container.decode(video=0))
                if i in indices
            }
        for index, frame in zip(indices, video.read(indices), strict=True):
            assert (frame == in_order[index]).all(), (path.name, index)


@pytest.mark.parametrize("content", [b"", b"no video at all\n" * 50])
def test_files_that_are_no_video(tmp_path, content):
    path = tmp_path / "broken.avi"
    path.write_bytes(content)
    with pytest.raises(VideoReadError, match=r"broken\.avi: ."):
        VideoReader(path).read([0])
    with pytest.raises(VideoReadError, match=r"broken\.avi: ."):
        len(VideoReader(path))


def test_missing_file_and_missing_frame(tmp_path, index_video):
    with pytest.raises(VideoReadError, match="absent"):
        VideoReader(tmp_path / "absent.avi").read([0])
    with pytest.raises(VideoReadError, match="frame 50 was asked for, 50 decode"):
        VideoReader(index_video).read([50])
    with pytest.raises(ValueError, match="-1"):
        VideoReader(index_video).read([-1])


def test_telephone_videos_are_upright(tmp_path):
    """Stored 64 wide and 32 high, to be turned by a quarter: red on top for whoever watches."""
    path = tmp_path / "telephone.mp4"
    frames = np.zeros((6, 32, 64, 3), np.uint8)
    frames[:, :, :32] = (255, 0, 0)
    write_video(path, frames, codec="libx264")
    content = path.read_bytes()
    matrix = content.index(b"tkhd") + 4 + 40
    path.write_bytes(
        content[:matrix]
        + struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 32 << 16, 0, 1 << 30)
        + content[matrix + 36 :]
    )
    video = VideoReader(path)
    for frame in (video.read([2])[0], next(iter(video.frames()))):
        assert frame.shape == (64, 32, 3)
        assert frame[:28, :, 0].min() > 200
        assert frame[36:, :, 0].max() < 50
    assert (probe(str(path))["width_px"], probe(str(path))["height_px"]) == (32, 64)


def test_a_cut_file_says_so_and_gives_what_decodes(tmp_path, index_video):
    whole = index_video.read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) * 2 // 3])
    video = VideoReader(tmp_path / "cut.avi")
    assert 0 < len(video) < 50
    assert "truncated" in video.fault
    assert not VideoReader(index_video).fault


def read_fourth_frame(path: str) -> np.ndarray:
    return VideoReader(path).read([3])


def test_a_forked_process_reads_after_its_parent_has(tmp_path):
    """Workers of a data loader are forked from a process that may have read videos itself."""
    path = tmp_path / "noise.mp4"
    frames = np.random.default_rng(0).integers(0, 255, (6, 240, 320, 3), dtype=np.uint8)
    write_video(path, frames, codec="libx264")
    read_here = read_fourth_frame(str(path))
    with multiprocessing.get_context("fork").Pool(1) as pool:
        read_there = pool.apply_async(read_fourth_frame, (str(path),)).get(timeout=120)
    assert (read_there == read_here).all()
