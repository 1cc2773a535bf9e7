"""Every experiment file trains, features and tests one step, on miniatures of the real layouts."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sta_tsn.artefacts import read_json
from sta_tsn.attention.explain import explain_video, load_sta_tsn
from sta_tsn.cli import main
from sta_tsn.configuration import read_yaml
from sta_tsn.datasets import JHMDB, prepare_split, read_manifest
from sta_tsn.evaluation import ScoreTable, fuse
from sta_tsn.pipeline.attention_scores import score_attention
from sta_tsn.pipeline.data import extract_flow, open_dataset
from sta_tsn.pipeline.options import TrainOptions
from sta_tsn.pipeline.probes import HEADS
from sta_tsn.pipeline.stages import plan_stages, stage_arguments
from sta_tsn.pipeline.studies import (
    ABLATIONS,
    SA_CNN_TSN,
    SMNET_STUDY,
    STA_TSN,
    STA_TSN_STUDY,
    STUDIES,
    Row,
)
from sta_tsn.runs.folder import RunFolder
from sta_tsn.runs.layout import ATTENTION_FILE
from sta_tsn.tasks import MotionBackbone, SpatialAttentionBackbone
from sta_tsn.video import tvl1_flow

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
RECIPES = EXPERIMENTS / "datasets"
DATASETS = sorted(file.parent.name for file in RECIPES.glob("*/backbone.yaml"))
WITH_FLOW = sorted(file.parent.name for file in RECIPES.glob("*/flow.yaml"))
CNN = STA_TSN_STUDY.rows[0]
FEW_FRAMES = "--data.test_frames_per_segment=2"


def fit(row: Row, dataset: str, run: RunFolder, *options: str, epochs: int = 1) -> ScoreTable:
    command = [
        "fit",
        f"--config={EXPERIMENTS / row.config}",
        f"--config={EXPERIMENTS}/datasets/{dataset}/{row.stage}.yaml",
        f"--run_dir={run.path}",
        *options,
        f"--trainer.max_epochs={epochs}",
        "--data.num_workers=0",
    ]
    assert main(command) == 0
    return ScoreTable.load(run.scores)


def stage_one_options(dataset: str, root: Path, tmp_path: Path) -> list[str]:
    tiny = [
        "--model.backbone=test_resnet",
        "--model.weights=none",
        "--model.input_px=96",
        "--data.batch_size=2",
        FEW_FRAMES,
    ]
    return [
        *tiny,
        f"--data.dataset.init_args.root={root}",
        f"--data.manifest={tmp_path / 'manifest.csv'}",
    ]


def miniature(dataset: str, request) -> Path:
    """Return the folder of `mini_<dataset>`, a fixture of conftest.py."""
    if dataset != "demo":
        return request.getfixturevalue(f"mini_{dataset}")
    root = request.getfixturevalue("mini_ucf101")
    (root / "ground_truth.csv").touch()  # rendered already, as far as the dataset can see
    return root


@pytest.mark.parametrize("dataset", DATASETS)
def test_both_stages_of_every_dataset(dataset, request, tmp_path):
    root = miniature(dataset, request)
    named = TrainOptions(dataset=dataset, data=str(root), experiments=str(EXPERIMENTS))
    backbone, temporal = RunFolder(tmp_path / "backbone"), RunFolder(tmp_path / "temporal")
    table = fit(SA_CNN_TSN, dataset, backbone, *stage_one_options(dataset, root, tmp_path))
    assert table.classes == open_dataset(named).classes
    assert table.temporal_weights is None
    assert backbone.about["select"] == (dataset == "thumos14")
    features = [
        f"--data.features={backbone.features}",
        f"--model.backbone_checkpoint={backbone.tested_checkpoint}",
    ]
    batch = ["--data.batch_size=2", "--data.iterations_per_epoch=1"]
    last = fit(STA_TSN, dataset, temporal, *features, *batch)
    assert last.temporal_weights.shape[1:] == (3, 2)


@pytest.mark.parametrize("dataset", WITH_FLOW)
def test_flow_of_every_dataset_that_has_a_recipe(dataset, request, tmp_path, monkeypatch):
    """Both stages learn from flow; the score table has RGB's rows, so the streams can be fused."""
    root = miniature(dataset, request)
    rough = {"num_scales": 1, "warps": 1, "outer_iterations": 1, "inner_iterations": 2}
    monkeypatch.setattr(
        "sta_tsn.video.flow.video_flow.tvl1_flow", lambda *frames: tvl1_flow(*frames, **rough)
    )
    options = TrainOptions(
        dataset=dataset,
        data=str(root),
        runs=str(tmp_path),
        devices="1",
        experiments=str(EXPERIMENTS),
    )
    extract_flow(options)
    configs = [
        f"--config={EXPERIMENTS / 'datasets' / dataset / 'flow.yaml'}",
        "--model.modality=flow",
        f"--data.flow={tmp_path / dataset / 'flow'}",
    ]
    backbone, temporal = RunFolder(tmp_path / "backbone"), RunFolder(tmp_path / "temporal")
    table = fit(
        SA_CNN_TSN, dataset, backbone, *configs, *stage_one_options(dataset, root, tmp_path)
    )
    features = [
        f"--data.features={backbone.features}",
        f"--model.backbone_checkpoint={backbone.tested_checkpoint}",
    ]
    batch = ["--data.batch_size=2", "--data.iterations_per_epoch=1"]
    last = fit(STA_TSN, dataset, temporal, *features, *batch)
    assert fuse([table, last], [1, 1.5]).ids == table.ids


def rows_of_stage_one() -> list[Row]:
    """Return the rows of every study that train on videos, each once, ablations aside."""
    rows: list[Row] = []
    for study in STUDIES:
        for row in study.rows:
            if row.stage == "backbone" and not row.change and row not in rows:
                rows.append(row)
    return rows


@pytest.mark.parametrize("row", rows_of_stage_one(), ids=lambda row: row.title)
def test_every_row_of_every_study(row, mini_jhmdb, tmp_path):
    """A row that names its frames is tested with those; SMNet's and its baseline's are eight."""
    options = stage_one_options("jhmdb", mini_jhmdb, tmp_path)
    named = read_yaml(EXPERIMENTS / row.config)["data"]["init_args"]
    if "test_frames_per_segment" in named:
        options.remove(FEW_FRAMES)
    run = RunFolder(tmp_path / "run")
    table = fit(row, "jhmdb", run, *options)
    assert len(table.ids) == 5
    assert table.protocol["segments"] == named.get("test_segments", 3)
    assert table.protocol["frames_per_segment"] == named.get("test_frames_per_segment", 2)
    assert run.features.exists() == (row == SA_CNN_TSN)


def test_a_step_on_the_real_clips_of_ucf101(shared_data, tmp_path, capsys):
    run = RunFolder(tmp_path / "run")
    options = [
        *stage_one_options("ucf101", shared_data / "ucf101", tmp_path),
        "--data.videos_per_pass=1",
    ]
    with pytest.raises(AssertionError):
        fit(CNN, "ucf101", run, *options)
    assert "13267 of them are not in" in capsys.readouterr().err
    table = fit(CNN, "ucf101", run, *options, "--data.allow_missing=true")
    assert len(table.ids) == 29
    assert table.protocol["missing"] == 3783 - 29


def test_passes_make_the_step_of_the_whole_batch(mini_jhmdb, tmp_path):
    """Two steps with nothing random inside, of all videos at once and of one at a time."""
    still = ["--model.dropout=0", "--model.trained_batch_norms=none", "--data.batch_size=128"]
    options = [
        one for one in stage_one_options("jhmdb", mini_jhmdb, tmp_path) if "batch_size" not in one
    ]
    weights = []
    for name, passes in (("whole", []), ("parts", ["--data.videos_per_pass=1"])):
        run = RunFolder(tmp_path / name)
        fit(CNN, "jhmdb", run, *options, *still, *passes, epochs=2)
        checkpoint = torch.load(run.last, weights_only=True)
        assert checkpoint["global_step"] == 2
        weights.append(checkpoint["state_dict"])
    for key, value in weights[0].items():
        torch.testing.assert_close(
            weights[1][key], value, rtol=1e-3, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}"
        )


@pytest.mark.parametrize("row", SMNET_STUDY.rows, ids=lambda row: row.title)
def test_the_demos_own_recipe_of_smnet(row, mini_ucf101, tmp_path):
    """`make train` adds it to every row of SMNet's table, and to no other model's."""
    (mini_ucf101 / "ground_truth.csv").touch()
    options = TrainOptions(
        model="smnet",
        data=str(mini_ucf101),
        runs=str(tmp_path),
        experiments=str(EXPERIMENTS),
        devices="1",
    )
    recipe = f"--config={EXPERIMENTS / 'datasets/demo/smnet.yaml'}"
    arguments, others = (
        stage_arguments(row, replace(options, model=model)) for model in ("smnet", "sta_tsn")
    )
    assert recipe in arguments
    assert recipe not in others
    assert (
        main(
            [
                "fit",
                *arguments,
                "--trainer.max_steps=1",
                "--data.batch_size=2",
                "--data.num_workers=0",
            ]
        )
        == 0
    )
    run = row.folder(options)
    known = torch.load(run.tested_checkpoint, weights_only=True)
    assert "exp_avg" in known["optimizer_states"][0]["state"][0]  # AdamW's
    task = (
        MotionBackbone if row.model == "smnet" else SpatialAttentionBackbone
    ).load_from_checkpoint(run.tested_checkpoint)
    assert task.model.input_px == 112
    assert ScoreTable.load(run.scores).protocol["segments"] == 16


# What each file changes, as the checkpoint knows it.
ABLATED = {
    "one_pooling_size": {"pool_sizes": (1,)},
    "two_pooling_sizes": {"pool_sizes": (1, 3)},
    "adaptive_pooling": {"pool_mode": "adaptive"},
    "inner_product": {"focus": "inner_product"},
    "five_snippets": {},
    "no_regularization": {"temporal_regularization": False},
    "lstm_128": {"hidden_dim": 128},
    "lstm_2048": {"hidden_dim": 2048},
    "frames_1x30": {"frames": (1, 30)},
    "frames_6x5": {"frames": (6, 5)},
    "frames_3x5": {"frames": (3, 5)},
    "frames_3x1": {"frames": (3, 1)},
}


def test_every_ablation_changes_what_it_says(mini_jhmdb, tmp_path):
    """Stage two's start from the features of the unchanged stage one."""
    for row in ABLATIONS.rows:
        folder = row.folder(options := TrainOptions(dataset="jhmdb", runs=str(tmp_path)))
        change = [f"--config={EXPERIMENTS / row.change}"] if row.change else []
        if row.stage == "backbone":
            change += stage_one_options("jhmdb", mini_jhmdb, tmp_path)
            if row == SA_CNN_TSN:  # whose features stage two's rows deal out
                change.append("--data.test_frames_per_segment=10")
        else:
            stage_one = row.backbone(options)
            change += [
                f"--data.features={stage_one.features}",
                f"--model.backbone_checkpoint={stage_one.tested_checkpoint}",
            ]
            change += ["--data.batch_size=2", "--data.iterations_per_epoch=1"]
        fit(row, "jhmdb", folder, *change)
        known = torch.load(folder.tested_checkpoint, weights_only=True)["hyper_parameters"]
        wanted = ABLATED.get(row.model.removeprefix("ablation_"), {})
        assert {name: known[name] for name in wanted} == wanted, row.title
        assert row.model.startswith("ablation") == bool(row.change)
        assert folder.features.exists() == (row == SA_CNN_TSN)
    assert (
        "num_segments: 5"
        in RunFolder(
            tmp_path / "jhmdb/split1/ablation_five_snippets/rgb/seed0/backbone"
        ).config.read_text()
    )
    dataset = JHMDB(str(mini_jhmdb))
    videos = prepare_split(dataset, 1, read_manifest(tmp_path / "manifest.csv"), 0).test
    for frames in ((1, 30), (3, 1)):  # scored and drawn with the frames that it learned from
        folder = RunFolder(
            tmp_path / f"jhmdb/split1/ablation_frames_{frames[0]}x{frames[1]}/rgb/seed0/temporal"
        )
        score_attention(folder, dataset, videos)
        measured = read_json(folder.path / ATTENTION_FILE)
        assert ("dropped_most" in measured) == (frames == (1, 30))
        assert "covered_most" in measured
        assert (
            explain_video(
                load_sta_tsn(folder.tested_checkpoint), videos[0]
            ).output.temporal_weights.shape[1:]
            == frames
        )
        assert (
            main(
                [
                    "explain",
                    str(videos[0].path),
                    str(folder.tested_checkpoint),
                    f"--out={tmp_path / 'drawn.png'}",
                ]
            )
            == 0
        )


def test_the_folders_own_recipe_of_smnet_is_read_and_its_keys_fit():
    options = TrainOptions(dataset="folder", model="smnet", experiments=str(EXPERIMENTS))
    recipe = f"--config={EXPERIMENTS / 'datasets/folder/smnet.yaml'}"
    for stage in plan_stages(options):
        assert recipe in stage.arguments


def test_every_file_says_what_it_is_and_is_covered():
    """The tests of skeletons are in test_joint_training.py, those of sweeps in test_sweep.py.

    Those of clips among unrelated frames are in test_interference.py.
    """
    covered = {"datasets/demo/smnet.yaml", "datasets/folder/smnet.yaml", "datasets/sbu/lstm.yaml"}
    covered |= {"datasets/jhmdb_joints/lstm.yaml", "datasets/demo/sta_tsn.yaml"}
    covered |= {f"datasets/{name}/interference.yaml" for name in ("demo", "jhmdb")}
    covered |= {f"models/probe/{head.name}.yaml" for head in HEADS}  # tests/pipeline/test_probes.py
    for dataset in DATASETS:
        covered |= {f"datasets/{dataset}/{stage}.yaml" for stage in ("backbone", "temporal")}
    covered |= {f"datasets/{dataset}/flow.yaml" for dataset in WITH_FLOW}
    for study in STUDIES:
        covered |= {row.config for row in study.rows}
    ablations = {row.change for row in ABLATIONS.rows if row.change}
    assert {Path(change).stem for change in ablations} == set(ABLATED)
    files = [path for path in EXPERIMENTS.rglob("*.yaml") if path.parent.name != "sweeps"]
    assert {str(path.relative_to(EXPERIMENTS)) for path in files} == covered | ablations
    assert all(path.read_text().startswith("# ") for path in files)
