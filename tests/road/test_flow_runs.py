"""Runs on optical flow: which videos have one; testing is on flow like that of training."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests_support import write_mini_experiments

from sta_tsn.cli import main
from sta_tsn.datasets import UCF101, VideoRecord, VideoSplit, moving_only
from sta_tsn.errors import DatasetError
from sta_tsn.runs.folder import RunFolder
from sta_tsn.video import FlowStore, SegmentSampler, VideoReader, quantize_flow, tvl1_flow
from sta_tsn.video.flow.flow_files import read_flow
from sta_tsn.video.flow.video_flow import FlowSettings, stored_flow, video_flow

FIVE_SCALES = {
    **FlowSettings().as_dict(),
    "tvl1": {**FlowSettings().as_dict()["tvl1"], "num_scales": 5},
}


def write_flow(root: Path, data: Path, settings: dict) -> None:
    """Of videos of 14 frames; the direction tells the class."""
    store = FlowStore(root, settings)
    for record in UCF101(str(data)).records(1).videos:
        flow = torch.zeros(2, 256, 340)
        flow[record.labels[0] % 2] = 10 - 5 * record.labels[0]
        store.write(record, [flow] * 13)


def fit(run: Path, config: str, *arguments: str) -> int:
    experiments, stage = (
        run.parent / "experiments",
        "temporal" if config == "sta_tsn" else "backbone",
    )
    files = (
        experiments / "models/sta_tsn" / f"{config}.yaml",
        experiments / "datasets/mini" / f"{stage}.yaml",
    )
    return main(
        [
            "fit",
            *(f"--config={file}" for file in files),
            f"--run_dir={run}",
            "--trainer.max_epochs=1",
            *arguments,
        ]
    )


def test_a_network_is_not_tested_on_flow_of_other_settings(mini_ucf101, tmp_path, capsys):
    write_mini_experiments(tmp_path, mini_ucf101)
    flow, run = tmp_path / "flow", RunFolder(tmp_path / "backbone")
    on_flow = (
        "--model.modality=flow",
        f"--data.flow={flow}",
        f"--data.manifest={tmp_path / 'manifest.csv'}",
        "--data.test_frames_per_segment=2",
        "--model.input_px=96",
        "--keep_features=true",
    )
    write_flow(flow, mini_ucf101, FIVE_SCALES)
    assert fit(run.path, "sa_cnn_tsn", *on_flow) == 0, capsys.readouterr().err

    write_flow(flow, mini_ucf101, FlowSettings().as_dict())
    refused = "learned from flow of other settings than that in .*(num_scales).*train anew"
    assert main(["features", str(run.path)]) == 1
    assert re.search(refused, capsys.readouterr().err)
    run.scores.unlink()
    assert fit(run.path, "sa_cnn_tsn", *on_flow) == 1
    assert re.search(refused, capsys.readouterr().err)

    write_flow(flow, mini_ucf101, FIVE_SCALES)
    assert fit(run.path, "sa_cnn_tsn", *on_flow) == 0, capsys.readouterr().err
    features = (
        f"--data.features={run.features}",
        f"--model.backbone_checkpoint={run.tested_checkpoint}",
    )
    assert fit(tmp_path / "temporal", "sta_tsn", *features) == 0, capsys.readouterr().err
    video = next(mini_ucf101.glob("UCF-101/*/*.avi"))
    assert (
        main(
            [
                "explain",
                str(video),
                str(tmp_path / "temporal/checkpoints/last.ckpt"),
                f"--out={tmp_path / 'a.png'}",
            ]
        )
        == 0
    )
    assert (
        "learned from flow of other settings than are computed here (num_scales)"
        in capsys.readouterr().out
    )


def test_explaining_a_video_computes_no_flow_but_what_is_seen(mini_ucf101, monkeypatch):
    path = next(mini_ucf101.glob("UCF-101/*/*.avi"))
    record, sampler = (
        VideoRecord("a", path, (), "a", len(VideoReader(path))),
        SegmentSampler(1, 2, stack_length=3),
    )
    whole = torch.stack(
        list(video_flow(VideoReader(path), torch.device("cpu")))
    )  # 13 pairs, of which 2 to 4 and 8 to 10 are seen
    computed = []
    monkeypatch.setattr(
        "sta_tsn.video.flow.video_flow.tvl1_flow",
        lambda *images: computed.append(images) or tvl1_flow(*images),
    )
    with stored_flow(record, None, sampler) as store:
        starts = sampler(13).flatten().tolist()
        stacks = torch.from_numpy(read_flow(store.path(record), starts, 3))
    assert starts == [2, 8]
    assert len(computed) == 6
    expected = torch.stack(
        [whole[start : start + 3].flatten(0, 1).permute(1, 2, 0) for start in starts]
    )
    assert (stacks.float() - quantize_flow(expected).float()).abs().mean() < 1  # JPEG


def test_videos_of_one_frame_are_named_and_their_class_is_missed(mini_ucf101, capsys):
    dataset = UCF101(str(mini_ucf101))
    split = dataset.records(1)
    moving = VideoSplit(
        [replace(video, num_frames=14) for video in split.train],
        [],
        [replace(v, num_frames=14) for v in split.test],
        0,
    )
    assert moving_only(dataset, 1, moving) is moving
    assert not capsys.readouterr().out

    still = replace(moving, test=[replace(moving.test[0], num_frames=1), *moving.test[1:]])
    left = moving_only(dataset, 1, still)
    assert (len(left.test), left.num_test_missing) == (4, 1)
    assert (
        f"a single frame has no optical flow: 1 videos ({moving.test[0].id})"
        in capsys.readouterr().out
    )

    still = replace(
        moving,
        train=[
            replace(video, num_frames=1 if video.labels == (1,) else 14) for video in moving.train
        ],
    )
    with pytest.raises(DatasetError, match="1 of 3 classes have no training clip: Run"):
        moving_only(dataset, 1, still)
    assert len(moving_only(dataset, 1, still, allow_missing=True).train) == 10
    official = replace(
        still, val=[replace(video, num_frames=14) for video in still.train]
    )  # a list of its own
    with pytest.raises(DatasetError, match="1 of 3 classes have no training clip: Run"):
        moving_only(dataset, 1, official)
    with pytest.raises(DatasetError, match="no training video is left"):
        moving_only(
            dataset,
            1,
            replace(moving, train=[replace(video, num_frames=1) for video in moving.train]),
        )
