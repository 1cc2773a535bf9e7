"""TV-L1, its storage, and flow as an input: known motions, bad input, outdated files."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from sta_tsn.datasets import Folder, VideoRecord, build_manifest, prepare_split
from sta_tsn.errors import UserError
from sta_tsn.models.map_backbone import CNN
from sta_tsn.video import (
    ClipDataset,
    FlowStore,
    SegmentSampler,
    VideoReader,
    dequantize_flow,
    quantize_flow,
    ten_crops,
    tvl1_flow,
)
from sta_tsn.video.augment import FlowHorizontalFlip
from sta_tsn.video.crops import negate_x
from sta_tsn.video.flow import tvl1
from sta_tsn.video.flow.flow_extraction import FlowExtraction, extract_all
from sta_tsn.video.flow.flow_files import read_flow
from sta_tsn.video.flow.median import median_5x5, median_network
from sta_tsn.video.flow.video_flow import FlowSettings, video_flow
from sta_tsn.video.flow.warp import warp, warp_by_grid_sample


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def texture(height: int = 96, width: int = 128, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return 127 + 40 * smooth / smooth.std()


def moved(image: np.ndarray, matrix: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Return two frames (1, H, W) and the flow (2, H, W) of the motion x -> matrix (x, y, 1)."""
    height, width = image.shape
    following = cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    y, x = np.mgrid[:height, :width].astype(np.float32)
    target = np.einsum("ij,jhw->ihw", matrix, np.stack([x, y, np.ones_like(x)]))
    return (
        torch.from_numpy(image)[None],
        torch.from_numpy(following)[None],
        target - np.stack([x, y]),
    )


def affine(
    angle_deg: float = 0, scale: float = 1, shift: tuple[float, float] = (0, 0)
) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D((63.5, 47.5), angle_deg, scale)
    matrix[:, 2] += shift
    return matrix.astype(np.float32)


@pytest.mark.parametrize(
    "matrix",
    [affine(shift=(1.5, -0.75)), affine(shift=(4, 3)), affine(angle_deg=2), affine(scale=1.04)],
    ids=["subpixel", "five pixels", "rotation", "zoom"],
)
def test_known_motions_are_found(matrix):
    previous, following, truth = moved(texture(), matrix)
    flow = tvl1_flow(previous, following)
    assert flow.shape == (1, 2, 96, 128)
    assert flow.dtype == torch.float32
    assert not flow.is_inference()
    error = np.hypot(*(flow[0].numpy() - truth))[12:-12, 12:-12]
    assert error.mean() < 0.06, error.mean()


def test_pairs_of_a_batch_do_not_mix():
    one, two = (
        moved(texture(seed=seed), affine(shift=shift))
        for seed, shift in ((0, (1, 0)), (1, (0, -2)))
    )
    batch = tvl1_flow(torch.cat([one[0], two[0]]), torch.cat([one[1], two[1]]))
    for row, pair in enumerate((one, two)):
        alone = tvl1_flow(pair[0], pair[1])
        assert (batch[row] - alone[0]).norm(
            dim=0
        ).mean() < 0.02  # the batch stops iterating together


def test_constant_frames_do_not_move():
    frames = torch.full((1, 40, 50), 128.0)
    assert torch.equal(tvl1_flow(frames, frames), torch.zeros(1, 2, 40, 50))
    assert torch.equal(tvl1_flow(frames, frames + 50), torch.zeros(1, 2, 40, 50))


def test_settings_have_names():
    previous, following, _ = moved(texture(), affine(shift=(1, 0)))
    rough = tvl1_flow(
        previous, following, num_scales=1, warps=1, outer_iterations=1, inner_iterations=2
    )
    assert rough.norm(dim=1).mean() < tvl1_flow(previous, following).norm(dim=1).mean()
    with pytest.raises(TypeError, match="lamda"):
        tvl1_flow(previous, following, lamda=0.1)


@pytest.mark.parametrize(
    "name, value",
    [
        ("num_scales", 0),
        ("warps", 2.0),
        ("theta", math.inf),
        ("tau", math.nan),
        ("scale_step", 1.5),
        ("epsilon", math.nan),
    ],
)
def test_settings_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"TV-L1: {name}={value}"):
        tvl1_flow(torch.zeros(1, 20, 20), torch.zeros(1, 20, 20), **{name: value})


@pytest.mark.parametrize(
    "previous, following, complaint",
    [
        (torch.zeros(1, 20, 20), torch.zeros(1, 20, 21), "two alike"),
        (torch.zeros(20, 20), torch.zeros(20, 20), r"\(B > 0, H, W\)"),
        (torch.zeros(0, 20, 20), torch.zeros(0, 20, 20), r"not \(0, 20, 20\)"),
        (torch.zeros(1, 10, 20), torch.zeros(1, 10, 20), "at least 16 px"),
        (
            torch.zeros(1, 20, 20, dtype=torch.uint8),
            torch.zeros(1, 20, 20, dtype=torch.uint8),
            r"previous is torch.uint8.*float\(\)",
        ),
        (
            torch.zeros(1, 20, 20),
            torch.full((1, 20, 20), torch.nan),
            "following holds values that are not finite",
        ),
    ],
)
def test_bad_frames(previous, following, complaint):
    with pytest.raises(ValueError, match=complaint):
        tvl1_flow(previous, following)


def test_median_is_opencvs_on_every_device():
    flow = torch.randn(2, 2, 30, 41)
    expected = [cv2.medianBlur(plane.numpy(), 5) for plane in flow.flatten(0, 1)]
    for found in (median_5x5(flow), median_network(flow)):
        assert torch.equal(found, torch.from_numpy(np.stack(expected)).reshape(flow.shape))


def test_warp_is_opencvs_on_every_device():
    images = torch.from_numpy(np.stack([[texture(seed=seed)] * 2 for seed in range(2)]))
    images[:, 1] += 20
    flow = (
        5
        * torch.from_numpy(
            np.stack([[texture(seed=seed), texture(seed=seed + 1)] for seed in (5, 7)]) - 127
        )
        / 40
    )
    inside = (slice(None), slice(None), slice(20, -20), slice(20, -20))
    one, other = warp(images, flow), warp_by_grid_sample(images, flow)
    assert (one - images).abs().mean() > 10
    torch.testing.assert_close(one[inside], other[inside], atol=0.05, rtol=0)


@pytest.mark.skipif(
    not shutil.which("g++") and not shutil.which("clang++"),
    reason="torch.compile needs a C++ compiler on the CPU",
)
def test_fused_iterations_equal_the_eager_ones(capsys):
    def state():
        torch.manual_seed(0)
        return (
            torch.randn(2, 2, 30, 40),
            torch.randn(2, 2, 30, 40) / 10,
            torch.randn(2, 2, 30, 40) / 10,
        )

    torch.manual_seed(1)
    fixed = (
        torch.randn(2, 2, 30, 40),
        torch.randn(2, 1, 30, 40),
        -torch.rand(2, 1, 30, 40),
        [torch.zeros(2, 2, 30, 40) for _ in range(4)],
    )
    eager, fused = state(), state()
    with torch.inference_mode():
        for _ in range(3):
            eager = tvl1.two_eager_iterations(*eager[:3], *fixed, 0.045, 0.3, 0.8)
            fused = tvl1.two_fused_iterations()(*fused[:3], *fixed, 0.045, 0.3, 0.8)
    assert "uncompiled" not in capsys.readouterr().out
    torch.testing.assert_close(fused, eager, atol=1e-5, rtol=1e-5)


def test_without_a_compiler_flow_is_eager_and_says_so(tmp_path):
    program = """
import torch
from sta_tsn.video.flow.tvl1 import tvl1_flow
frame = torch.rand(1, 40, 50, generator=torch.manual_seed(0)) * 255
frames = frame, frame.roll(1, 2)
print("equal:", torch.equal(tvl1_flow(*frames, fused=True), tvl1_flow(*frames, fused=False)))
"""
    nowhere = {"CXX": "/absent/compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | nowhere,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("TV-L1 runs uncompiled") == 1
    assert "equal: True" in done.stdout


def test_quantization():
    flow = torch.tensor([-30.0, -20.0, 0.0, 20.0, 30.0, 20 / 255])
    assert quantize_flow(flow).tolist() == [
        0,
        0,
        128,
        255,
        255,
        128,
    ]  # 127.5 and 128.0 both go to 128
    values = torch.linspace(-20, 20, 1001)
    assert (dequantize_flow(quantize_flow(values)) - values).abs().max() <= 20 / 255 + 1e-5


# --- the store


@pytest.fixture
def videos(mini_folder, tmp_path) -> list[VideoRecord]:
    root = tmp_path / "videos"
    shutil.copytree(mini_folder, root)
    dataset = Folder(str(root))
    split = prepare_split(dataset, 1, build_manifest(dataset.listed(), tmp_path / "manifest.csv"))
    return [*split.train, *split.test][:3]


@pytest.fixture
def fast(monkeypatch):
    """Two iterations a warp: these tests are about files."""
    monkeypatch.setattr(
        "sta_tsn.video.flow.video_flow.tvl1_flow",
        lambda *args: tvl1_flow(*args, warps=1, outer_iterations=1, inner_iterations=2),
    )


def test_a_stopped_command_goes_on_compiled_as_it_began(videos, tmp_path, monkeypatch):
    """All videos decide, not those that are left: compiled and eager flow differ by rounding."""
    asked = []

    def remember(first, second, compiled):
        asked.append(compiled)
        return torch.zeros(len(first), 2, 256, 340)

    monkeypatch.setattr("sta_tsn.video.flow.video_flow.tvl1_flow", remember)
    monkeypatch.setattr(
        "sta_tsn.video.flow.flow_extraction.PAIRS_WORTH_COMPILING",
        sum(video.num_frames for video in videos) - 1,
    )
    extract_all(videos[:1], tmp_path / "flow", devices="1")
    assert set(asked) == {None}
    asked.clear()
    extract_all(videos, tmp_path / "flow", devices="1")  # one of them is done
    assert set(asked) == {True}
    asked.clear()
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    extract_all(videos[:2], tmp_path / "two", devices="1")
    extract_all(videos, tmp_path / "two")  # two cores, one video left for one process
    assert set(asked) == {None}


def test_make_flow_goes_on_and_redoes_what_changed(videos, fast, tmp_path, capsys):
    store = extract_all(videos[:1], tmp_path / "flow", devices="1")
    first = store.file(videos[0]).stat().st_mtime_ns
    extract_all(videos, tmp_path / "flow", devices="1")
    assert store.file(videos[0]).stat().st_mtime_ns == first
    assert "1 of 3 videos are done" in capsys.readouterr().out
    store.check(videos)
    with zipfile.ZipFile(store.file(videos[0])) as archive:
        assert len(archive.namelist()) == 2 * (videos[0].num_frames - 1) + 1
        assert json.loads(archive.read("about.json"))["settings"] == FlowSettings().as_dict()

    before = store.fingerprint(videos)
    os.utime(videos[0].path)  # as in a copy
    assert store.is_current(videos[0])
    assert store.fingerprint(videos) == before
    with open(videos[0].path, "ab") as file:
        file.write(b"0")  # the video changed
    killed, working = (
        store.file(videos[0]).with_name(f".{name}.zip") for name in ("killed", "working")
    )
    killed.touch()
    working.touch()
    os.utime(killed, (0, 0))
    whole = store.file(videos[1]).read_bytes()
    store.file(videos[1]).write_bytes(
        whole[: len(whole) // 2]
    )  # not written by us: ours appear whole
    with pytest.raises((UserError, zipfile.BadZipFile)):
        store.check(videos)
    assert [store.is_current(video) for video in videos] == [False, False, True]
    extract_all(videos, tmp_path / "flow", devices="1")
    store.check(videos)
    assert working.exists()
    assert not killed.exists()


def test_fewer_videos_than_processes(videos, tmp_path):
    """What a command that was killed near its end has left to do."""
    script = tmp_path / "script.py"
    script.write_text(f"""
import os
from pathlib import Path
from sta_tsn.datasets import VideoRecord
from sta_tsn.video import tvl1_flow
from sta_tsn.video.flow import flow_extraction, video_flow
quick = dict(warps=1, outer_iterations=1, inner_iterations=2)
video_flow.tvl1_flow = lambda *args: tvl1_flow(*args, **quick)
record = VideoRecord("a/b", Path({str(videos[0].path)!r}), (0,), "b", {videos[0].num_frames})
store = flow_extraction.extract_all([record], Path({str(tmp_path / "flow")!r}), devices="2")
if store.is_current(record):
    Path({str(tmp_path)!r}, f"complete-{{os.getpid()}}").touch()
""")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(tmp_path.glob("complete-*"))) == 2, done.stdout + done.stderr


def test_a_process_whose_starter_was_killed_ends(videos, tmp_path, monkeypatch):
    """Else it would go on beside the repeated command."""
    extraction = FlowExtraction(FlowStore(tmp_path / "flow"), videos, False)
    monkeypatch.setattr(FlowExtraction, "local_rank", 1)
    monkeypatch.setattr("os.getppid", lambda: 1)
    with pytest.raises(UserError, match="The process that started this one is gone"):
        extraction.predict_step(0)
    assert not (tmp_path / "flow").exists()


def test_flow_of_other_settings_is_refused(videos, fast, tmp_path):
    extract_all(videos[:2], tmp_path / "flow", devices="1")
    slower = {**FlowSettings().as_dict()["tvl1"], "warps": 6}
    other = FlowStore(
        tmp_path / "flow", {**FlowSettings().as_dict(), "bound_px": 10.0, "tvl1": slower}
    )
    with pytest.raises(
        UserError, match=r"make flow again(.|\n)*other settings \(bound_px, warps\)"
    ):
        other.check(videos[:2])
    with pytest.raises(UserError, match=r"No flow of .* run make flow"):
        FlowStore(tmp_path / "flow").check(videos)


def test_stored_flow_is_what_tvl1_says(videos, fast, tmp_path):
    """Read back by index, to within quantisation and JPEG."""
    store, (video, *_) = FlowStore(tmp_path / "flow", {}), videos
    video = replace(video, num_frames=0)
    flows = list(video_flow(VideoReader(video.path), torch.device("cpu")))[:12]
    store.write(video, flows)
    stacks = read_flow(store.path(video), [0, 3, 9], 5)
    assert stacks.shape == (3, 256, 340, 10)
    assert stacks.dtype == np.uint8
    read = dequantize_flow(torch.from_numpy(stacks[1]))
    expected = torch.stack([component for flow in flows[3:8] for component in flow], -1).clamp(
        -20, 20
    )
    assert (read - expected).abs().mean() < 0.15
    assert (
        stacks[2, ..., 4:6] == stacks[2, ..., 8:10]
    ).all()  # behind the end the last pair repeats


@pytest.mark.parametrize("name", ["clip", "a/clip", "a/clip.avi"])
def test_folders_of_tsn_are_read(name, tmp_path):
    folder = tmp_path / "flow" / name
    folder.mkdir(parents=True)
    for number in range(1, 13):
        for axis, offset in (("x", 0), ("y", 100)):
            cv2.imwrite(
                str(folder / f"flow_{axis}_{number:05d}.jpg"),
                np.full((256, 340), 10 * number + offset, np.uint8),
            )
    record = VideoRecord("a/clip.avi", tmp_path / "clip.avi", (0,), "g", num_frames=13)
    store = FlowStore(tmp_path / "flow")
    assert store.check([record]) == {}
    assert read_flow(store.path(record), [2], 3)[0, 0, 0].tolist() == [30, 130, 40, 140, 50, 150]
    before = store.fingerprint([record])
    os.utime(folder / "flow_x_00001.jpg", (2e9, 2e9))  # made again by the other tool
    assert store.fingerprint([record]) != before
    cv2.imwrite(str(folder / "flow_y_00004.jpg"), np.zeros((240, 320), np.uint8))
    with pytest.raises(UserError, match=r"several sizes, \[\(240, 320\), \(256, 340\)\]"):
        read_flow(store.path(record), [2], 3)
    (folder / "flow_y_00004.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"flow_y_00004.jpg is missing or damaged"):
        read_flow(store.path(record), [2], 3)
    (folder / "flow_y_00004.jpg").unlink()
    with pytest.raises(
        UserError, match=r"of another tool, which is not whole(.|\n)*flow_y_00004.jpg is missing"
    ):
        store.check([record])


def test_folders_of_tsn_that_are_not_whole_stop_make_flow(videos, tmp_path):
    """Before anything is computed: flow of two makers would lie side by side."""
    folders = {video.id: tmp_path / "flow" / video.id for video in videos}
    for video in videos:
        folders[video.id].mkdir(parents=True)
        for number in range(1, video.num_frames):
            for axis in "xy":
                cv2.imwrite(
                    str(folders[video.id] / f"flow_{axis}_{number:05d}.jpg"),
                    np.zeros((256, 340), np.uint8),
                )
    extract_all(videos, tmp_path / "flow", devices="1")
    last = [
        folders[videos[0].id] / f"flow_{axis}_{videos[0].num_frames - 1:05d}.jpg" for axis in "xy"
    ]
    last[1].unlink()
    with pytest.raises(
        UserError,
        match=rf"not whole(.|\n)*{videos[0].id}: {last[1].name} is missing\n"
        "Complete it with that tool",
    ):
        extract_all(videos, tmp_path / "flow", devices="1")
    last[0].unlink()
    with pytest.raises(UserError, match="12 pairs for 14 frames"):
        extract_all(videos, tmp_path / "flow", devices="1")
    shutil.rmtree(folders[videos[0].id])
    with pytest.raises(UserError, match=f"{videos[0].id}: a .zip, or no folder of pictures"):
        extract_all(videos, tmp_path / "flow", devices="1")
    assert not list((tmp_path / "flow").rglob("*.zip"))


def test_a_cut_off_file_is_not_taken_for_another_tools(tmp_path):
    records = []
    for name in ("a", "b"):
        video = tmp_path / f"{name}.avi"
        video.write_bytes(b"a video")
        records.append(VideoRecord(name, video, (0,), name, num_frames=3))
        FlowStore(tmp_path / "flow", {}).write(records[-1], [torch.zeros(2, 8, 8)] * 2)
    store = FlowStore(tmp_path / "flow")
    store.check(records)
    cut = store.file(records[1])
    cut.write_bytes(cut.read_bytes()[:100])
    with pytest.raises(UserError, match=r"run make flow again(.|\n)*b.zip: not a whole flow file"):
        store.check(records)


# --- flow as an input


def test_mirrored_flow_points_the_other_way():
    stored = np.random.default_rng(0).integers(0, 256, (2, 8, 9, 20), dtype=np.uint8)
    flipped = FlowHorizontalFlip(p=1).apply_to_images(stored)
    assert (flipped[..., 0::2] == 255 - stored[:, :, ::-1, 0::2]).all()
    assert (flipped[..., 1::2] == stored[:, :, ::-1, 1::2]).all()
    crops = ten_crops(stored, 8, flow=True)
    assert (crops[5:] == negate_x(crops[:5, :, :, ::-1])).all()


def test_clips_of_flow(videos, fast, tmp_path):
    store = extract_all(videos[:1], tmp_path / "flow", devices="1")
    for crop, views in (("augment", 1), ("center", 1), ("ten", 10)):
        sampler = SegmentSampler(3, 2, training=crop == "augment", stack_length=10)
        sample = ClipDataset(videos[:1], 3, sampler, crop, 32, flow=store)[0, 1]
        assert sample["clips"].shape == (views, 3, 2, 20, 32, 32)
        assert sample["clips"].dtype == torch.uint8
        assert sample["clips"].float().std() > 0.1
        assert sample["frame_indices"].max() + 10 <= videos[0].num_frames - 1


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_damaged_file_is_named_in_one_sentence_by_a_loaders_worker_too(
    num_workers, videos, fast, tmp_path
):
    store = extract_all(videos[:1], tmp_path / "flow", devices="1")
    store.file(videos[0]).write_bytes(b"cut off")
    clips = ClipDataset(
        videos[:1], 3, SegmentSampler(1, 1, stack_length=10), "center", 32, flow=store
    )
    with pytest.raises(UserError) as caught:
        next(iter(DataLoader(clips, sampler=[(0, 1)], num_workers=num_workers)))
    assert str(caught.value) == (
        f"{store.file(videos[0])}: not a whole flow file (File is not a zip file); "
        "delete it and run make flow again"
    )


@pytest.mark.parametrize(
    "name",
    [
        "test_resnet",
        "mobilenetv2_100",
        "test_convnext",
        "test_efficientnet",
        "repvgg_a0",
        "fastvit_t8",
    ],
)
def test_cross_modality_initialisation_of_any_cnn(name):
    """Grey images give the same first map as RGB ones, scaled by the number of channels."""
    torch.manual_seed(0)
    rgb = CNN(name).eval()
    torch.manual_seed(0)
    flow = CNN(name, num_channels=20).eval()
    for first, widened in zip(
        rgb.first_convolutions, flow.first_convolutions, strict=True
    ):  # several in stems with branches
        torch.testing.assert_close(
            widened.weight, first.weight.mean(1, keepdim=True).expand(-1, 20, -1, -1)
        )
    assert (
        flow(torch.zeros(1, 20, rgb.input_px, rgb.input_px, dtype=torch.uint8)).shape[1]
        == rgb.num_features
    )
    again = CNN(**flow.settings)
    assert again.first_convolutions[0].weight.shape[1] == 20
    assert again.settings == flow.settings


def test_what_another_machine_writes_is_left_whatever_the_clocks_say(tmp_path, monkeypatch):
    """This machine's clock is two hours ahead of the disk's."""
    ahead = time.time() + 7200
    monkeypatch.setattr(time, "time", lambda: ahead)
    being_written = tmp_path / "videos" / ".v_Jump.1234.zip"
    abandoned = tmp_path / "videos" / ".v_Run.5678.zip"
    being_written.parent.mkdir()
    for path in (being_written, abandoned):
        path.touch()
    os.utime(abandoned, (ahead - 12_000, ahead - 12_000))
    FlowStore(tmp_path).clear_half_written()
    assert [path.name for path in tmp_path.rglob("*.zip")] == [being_written.name]
    assert not list(tmp_path.glob(".now*"))
