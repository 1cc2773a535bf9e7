"""`make reproduce` on miniature videos, `make report` from score tables alone.

The tables are compared with known cases.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from tests_support import run_here, write_mini_experiments

from sta_tsn.artefacts import read_json
from sta_tsn.attention.measurement import frames_to_keep
from sta_tsn.attention.occlusion import cover
from sta_tsn.cli import main
from sta_tsn.errors import UserError
from sta_tsn.evaluation import ScoreTable
from sta_tsn.evaluation.charts import per_class_chart, save_figure
from sta_tsn.pipeline import reproduce as reproduction
from sta_tsn.report import reproduction as reproduction_report
from sta_tsn.report.attention_tables import attention_table
from sta_tsn.report.renderer import markdown
from sta_tsn.report.reproduction import build_reproduction
from sta_tsn.report.tables import (
    TestedRun,
    competitors,
    differences,
    runs_table,
    table_2,
    table_3,
    with_fusions,
)

TestedRun.__test__ = False  # no test class, whatever pytest thinks of its name


def table(num_right: int, num_videos: int = 100, split: int = 1, seed: int = 0) -> ScoreTable:
    """Two classes; the first `num_right` videos are right."""
    labels = torch.zeros(num_videos, 2, dtype=torch.bool)
    labels[:, 0] = True
    scores = torch.tensor([[1.0, 0.0]] * num_right + [[0.0, 1.0]] * (num_videos - num_right))
    protocol = {
        "dataset": "JHMDB",
        "split": split,
        "seed": seed,
        "segments": 3,
        "frames_per_segment": 10,
        "crops": 10,
        "missing": 0,
    }
    return ScoreTable(
        [f"v{i}" for i in range(num_videos)],
        scores,
        labels,
        ["a", "b"],
        {**protocol, "commit": "abc"},
    )


def run(row: str, right: int, modality: str = "rgb", split: int = 1, seed: int = 0) -> TestedRun:
    return TestedRun(row, modality, split, seed, table(right, split=split, seed=seed), None)


def test_table_2_has_mean_spread_interval_and_the_papers_number():
    found = table_2(
        [run("STA-TSN", 50), run("STA-TSN", 60, seed=1), run("CNN", 40), run("CNN", 99, split=2)],
        "jhmdb",
    )
    assert found.loc["STA-TSN", "rgb"] == "55.0 ± 7.1 (45.2 to 64.4)"  # Wilson, 55 of 100
    assert found.loc["STA-TSN", "rgb, paper"] == "58.6"
    assert found.loc["CNN", "rgb"].startswith("40.0 (")
    assert list(table_2([run("STA-TSN", 50)], "demo")) == ["rgb"]  # of which the paper has nothing


def test_table_2_has_top_5_where_others_publish_it():
    """Kinetics and Something-Something are published as top-1 and top-5 accuracy."""
    scores = torch.arange(20.0).expand(4, 20).clone()
    labels = torch.zeros(4, 20, dtype=torch.bool)
    labels[torch.arange(4), torch.tensor([19, 15, 14, 0])] = True
    names = [f"class {k}" for k in range(20)]
    tested = ScoreTable(list("abcd"), scores, labels, names, {})
    runs = [TestedRun("STA-TSN", "rgb", 1, 0, tested, None)]
    assert table_2(runs, "kinetics400").loc["STA-TSN", "rgb, top-5"] == "50.0"
    assert "rgb, top-5" not in table_2(runs, "jhmdb")


def test_names_may_hold_dollars(tmp_path):
    """Else what stands between two of them is read as a formula."""
    per_class_chart(
        replace(table(50), classes=["$5_to_$10_", "b"]), "win_$5_to_$.avi", tmp_path / "chart.png"
    )
    assert (tmp_path / "chart.png").exists()


def test_text_that_looks_like_a_number_is_left_alone():
    printed = markdown(
        pd.DataFrame({"paper": ["56.0", "–"], "ours": [54.25, 7.0]}, index=["STA-TSN", "CNN"])
    )
    assert "| 56.0 " in printed
    assert printed.splitlines()[1].endswith("-----:|")
    assert " 54.25 |" in printed


def test_the_published_mean_of_five_folds_stands_beside_five():
    folds = [run("STA-LSTM", 90, "skeleton", split=split) for split in range(1, 6)]
    assert (
        table_3(folds, "sbu").loc["STA-LSTM, skeleton", "mean of 5"]
        == "90.0 (82.5 to 94.5) (paper 91.5)"
    )
    assert table_3(folds[:2], "sbu").loc["STA-LSTM, skeleton", "mean of 2"] == "90.0 (82.5 to 94.5)"


def test_table_3_and_competitors_take_the_mean_of_splits():
    runs = [run("STA-TSN", right, split=split) for split, right in ((1, 50), (2, 60), (3, 40))]
    found = table_3(runs, "jhmdb").loc["STA-TSN, rgb"]
    assert found["split 2"] == "60.0 (paper 55.2)"
    assert found["mean of 3"] == "50.0 (41.2 to 58.8) (paper 56.0)"
    assert list(table_3([run("CNN", 50), *runs], "jhmdb")) == [
        "split 1",
        "split 2",
        "split 3",
        "mean of 1",
        "mean of 3",
    ]
    seeds = [
        run("STA-TSN", right, split=split, seed=seed)
        for split, right in ((1, 50), (2, 60))
        for seed in (0, 1)
    ]
    assert (
        table_3([*seeds[:3], run("STA-TSN", 80, split=2, seed=1)], "demo").loc[
            "STA-TSN, rgb", "mean of 2"
        ]
        == "60.0 ± 7.1 (51.1 to 68.3)"
    )
    assert table_3(seeds[:3], "demo").loc["STA-TSN, rgb", "mean of 2"].startswith("55.0 (")
    others = competitors(runs, "jhmdb")
    assert others.loc["STA-TSN, ours (mean of 3 splits)", "rgb"] == "50.0"
    assert others.loc["STA-TSN, the paper's (mean of 3 splits)", "two-stream"] == "78.4"


def test_a_difference_that_is_not_significant_is_printed_as_such():
    found = differences([run("CNN", 50), run("SA-CNN", 52), run("STA-TSN", 80)]).set_index("to")
    assert found["at 5 %"].tolist() == ["not significant", "significant"]
    assert found.loc["SA-CNN", "p"] > 0.05
    assert found.loc["STA-TSN", "p"] < 0.001
    assert found.loc["STA-TSN", "points"] == 28
    assert found.loc["STA-TSN", "low"] == 20


def test_ablations_are_compared_with_their_base():
    rows = [run("SA-CNN+TSN", 50), run("one pooling size", 40), run("inner product", 80)]
    found = differences(
        rows, {"one pooling size": "SA-CNN+TSN", "inner product": "SA-CNN+TSN"}
    ).set_index("to")
    assert found.loc["inner product", "from"] == "SA-CNN+TSN"
    assert found.loc["inner product", "points"] == 30


def test_the_row_above_is_the_one_that_the_modality_has():
    found = differences(
        [run("CNN", 50), run("CNN", 50, "flow"), run("SA-CNN", 52), run("STA-TSN", 80, "flow")]
    )
    assert found[["modality", "from", "to"]].values.tolist() == [
        ["rgb", "CNN", "SA-CNN"],
        ["flow", "CNN", "STA-TSN"],
    ]


def test_clips_of_one_source_are_no_independent_evidence():
    runs = [run("CNN", 50), run("SA-CNN", 60)]
    grouped = [
        one._replace(table=replace(one.table, groups=[f"s{i // 10}" for i in range(100)]))
        for one in runs
    ]
    assert table_2(grouped, "demo").loc["CNN", "rgb"] != table_2(runs, "demo").loc["CNN", "rgb"]
    (alone,), (alike,) = differences(runs)["p"], differences(grouped)["p"]
    assert alone == pytest.approx(0.002, abs=5e-4)
    assert alike > 0.05
    assert differences(grouped)["sources"].tolist() == [10]


def test_two_streams_are_fused_where_both_are_there():
    found = with_fusions([run("CNN", 50), run("CNN", 60, "flow"), run("SA-CNN", 50)])
    assert [(one.row, one.modality) for one in found[3:]] == [("CNN", "two-stream")]


def test_streams_of_different_videos_are_fused_on_those_they_share():
    """A video of one frame has no flow."""
    flow = table(60, 99)
    rgb = table(50, 100)
    short = [
        TestedRun("CNN", "rgb", 1, 0, replace(rgb, validation=rgb), None),
        TestedRun("CNN", "flow", 1, 0, replace(flow, validation=flow), None),
    ]
    found = with_fusions(short)
    assert [run.modality for run in found] == ["rgb", "flow", "two-stream", "two-stream, learned"]
    assert [run.table.summary["videos"] for run in found] == [100, 99, 99, 99]
    assert found[2].table.protocol["missing"] == 1


def test_minutes_of_a_fusion_are_those_of_its_streams():
    both = [run("CNN", 50), run("CNN", 60, "flow")]
    for seconds, one in zip((60, 120), both, strict=True):
        one.table.protocol["seconds"] = {"fit": seconds}
    assert runs_table(with_fusions(both))["minutes"].tolist() == [1, 2, 3]


def test_the_competitors_are_beside_the_mean_of_splits_not_of_runs():
    runs = [
        run("STA-TSN", 50),
        run("STA-TSN", 60, seed=1),
        run("STA-TSN", 90, split=2),
        run("STA-TSN", 40, "flow"),
    ]
    found = competitors(runs, "jhmdb")
    assert found.loc["STA-TSN, ours (mean of 2 / 1 splits)", "rgb"] == "72.5"
    assert found.iloc[-1]["flow"] == "40.0"


def test_what_is_gone_is_not_left_in_the_report(tmp_path):
    runs = [
        run("CNN", 50),
        TestedRun("STA-TSN", "rgb", 1, 0, table(55, 90), None),
        run("STA-TSN", 40, split=2),
    ]
    build_reproduction(runs, "demo", "make report", [], tmp_path, {})
    assert (
        "100 videos from 100 sources (**fewer: STA-TSN, rgb, seed 0 on 90**)"
        in (tmp_path / "report.md").read_text()
    )
    assert (tmp_path / "table_2.csv").exists()
    build_reproduction(runs[2:], "demo", "make report", [], tmp_path, {})
    assert not (tmp_path / "table_2.csv").exists()
    assert not (tmp_path / "differences.csv").exists()


def test_a_received_score_table_puts_no_live_html_into_the_page(tmp_path):
    received = table(60)
    received.protocol["commit"] = "<script>alert(1)</script>"
    runs = [TestedRun("CNN", "rgb", 1, 0, received, None)]
    build_reproduction(runs, "demo", "make report", [], tmp_path, {})
    page = (tmp_path / "index.html").read_text()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page


def test_runs_say_how_many_frames_were_judged_false_where_they_know():
    knowing = run("STA-TSN", 50)
    knowing.table.protocol["share_judged_false"] = 0.25
    column = "frames judged false, share"
    assert list(runs_table([run("CNN", 50), knowing])[column]) == ["–", 0.25]
    assert column not in runs_table([run("CNN", 50)])


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "attention.json").write_text('{"made_by": ')
    with pytest.raises(UserError, match=r"attention.json is damaged .* Delete it"):
        attention_table([TestedRun("STA-TSN", "rgb", 1, 0, table(50), tmp_path)])


def test_every_seed_is_checked_before_anything_is_trained(tmp_path, capsys):
    assert main(["reproduce", f"--runs={tmp_path}", "--seeds", "0", "-1"]) == 1
    said = capsys.readouterr()
    assert "seed=-1" in said.err
    assert "split 1" not in said.out


def test_differences_are_those_of_the_mean_of_splits():
    """A clip that two splits test counts in each: +10 and 0 of as many videos are +5."""
    (line,) = differences(
        [run("CNN", 40), run("CNN", 50, split=2), run("STA-TSN", 50), run("STA-TSN", 50, split=2)]
    ).iloc
    assert line["points"] == 5
    assert line["tests"] == 200
    assert line["sources"] == 100


def test_runs_of_a_row_that_were_tested_on_different_videos():
    fewer = TestedRun("CNN", "rgb", 1, 1, table(40, 80, seed=1), None)
    assert table_2([run("CNN", 50), fewer], "demo").loc["CNN", "rgb"].startswith("50.0 ± 0.0 (")


def test_the_model_itself_is_the_last_row_whatever_is_fused(tmp_path):
    runs = [run("CNN", 50), run("CNN", 60, "flow"), run("STA-TSN", 55)]
    build_reproduction(runs, "demo", "make report", [], tmp_path, {})
    text = (tmp_path / "report.md").read_text()
    assert text.startswith("# demo: STA-TSN")
    assert "Not here: attention scored and pictures of attention (Fig 6)" in text
    build_reproduction(
        [*runs, run("no regularization", 52)], "demo", "make report", [], tmp_path, {}, "STA-TSN"
    )
    assert (tmp_path / "report.md").read_text().startswith("# demo: STA-TSN and ablations")


def test_a_picture_by_a_name_without_suffix_is_png(tmp_path):
    save_figure(plt.figure(), tmp_path / "picture")
    assert (tmp_path / "picture").read_bytes().startswith(b"\x89PNG")


def test_the_first_seed_need_not_have_every_modality(tmp_path):
    build_reproduction(
        [run("CNN", 50), run("CNN", 60, "flow", seed=1)], "demo", "make report", [], tmp_path, {}
    )
    assert "Fig 4: CNN, flow, seed 1" in (tmp_path / "report.md").read_text()


def test_frames_to_keep_are_in_order_and_of_equal_number():
    import numpy as np

    beta = torch.tensor([[0.1, 0.4, 0.2, 0.25, 0.05]])
    kept = frames_to_keep(beta, np.random.default_rng(0))
    assert kept["none"].tolist() == [[0, 1, 2, 3, 4]]
    assert kept["most"].tolist() == [[0, 4]]
    assert kept["least"].tolist() == [[1, 3]]
    assert kept["random"].shape == (1, 2)


def test_covered_cells_are_the_first_in_order():
    clips, order = torch.full((1, 2, 3, 3, 8, 8), 7, dtype=torch.uint8), torch.rand(1, 2, 3, 4, 4)
    covered = cover(clips, order, torch.tensor([1, 2, 3], dtype=torch.uint8))
    where = (
        covered[0, 1, 2, 1].view(4, 2, 4, 2).permute(0, 2, 1, 3).flatten(2)
    )  # pixels of each cell, second channel
    assert ((where == 2).all(2) | (where == 7).all(2)).all()
    assert (where == 2).all(2).sum() == 4
    assert order[0, 1, 2][(where == 2).all(2)].max() < order[0, 1, 2][(where == 7).all(2)].min()


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory, mini_ucf101) -> tuple[list[str], Path, str]:
    """Return the command, the runs' folder after it has run once, and what it printed.

    There are one split and two seeds.
    """
    tmp_path = tmp_path_factory.mktemp("reproduced")
    experiments, runs = write_mini_experiments(tmp_path, mini_ucf101), tmp_path / "runs"
    command = [
        "reproduce",
        "--dataset=mini",
        f"--experiments={experiments}",
        f"--runs={runs}",
    ]
    command += ["--seeds", "0", "1"]
    return command, runs, run_here(command, tmp_path)


def test_reproduce_makes_every_run_and_the_report(reproduced):
    command, runs, printed = reproduced
    folder = runs / "mini" / "report" / "sta_tsn"
    assert f"8 runs. Report: {folder / 'index.html'}" in printed
    text = (folder / "report.md").read_text()
    assert all(
        f"## {title}" in text
        for title in (
            "Table 2",
            "Table 3",
            "Which differences are real",
            "Attention",
            "All runs",
            "Figures",
        )
    )
    listed = pd.read_csv(folder / "runs.csv")
    expected = ScoreTable.load(runs / "mini/split1/sta_tsn/rgb/seed1/temporal/scores.npz").summary
    of_seed_1 = listed[(listed["row"] == "STA-TSN") & (listed["seed"] == 1)]
    assert of_seed_1["micro accuracy %"].item() == pytest.approx(expected["micro accuracy %"])
    measured = read_json(runs / "mini/split1/sta_tsn/rgb/seed0/temporal/attention.json")
    assert measured["dropped_none"] >= 60
    assert measured["covered_none"] >= 60
    assert "pointing" not in measured  # UCF101 has no masks
    for name in ("rows", "per_class", "confusion"):
        assert (folder / f"{name}.png").stat().st_size > 1000
        assert (folder / f"{name}.svg").read_text().rstrip().endswith("</svg>")
    assert run_here(command, runs).count("done already") == 8


def test_report_needs_nothing_but_score_tables(reproduced, tmp_path):
    _, runs, _ = reproduced
    for path in runs.rglob("scores.npz"):
        target = tmp_path / path.relative_to(runs)
        target.parent.mkdir(parents=True)
        shutil.copy(path, target)
    assert main(["report", "--dataset=mini", f"--runs={tmp_path}"]) == 0
    made, again = (
        pd.read_csv(folder / "mini/report/sta_tsn/table_2.csv") for folder in (runs, tmp_path)
    )
    assert made.equals(again)


def test_a_copied_split_and_a_misspelt_dataset_are_named(reproduced, tmp_path, capsys):
    _, runs, _ = reproduced
    for split in (1, 2):
        shutil.copytree(
            runs / "mini" / "split1" / "cnn", tmp_path / "mini" / f"split{split}" / "cnn"
        )
    assert main(["report", "--dataset=mini", f"--runs={tmp_path}"]) == 1
    assert "scores.npz is of split 1, seed 0: a copy" in capsys.readouterr().err
    assert main(["report", "--dataset=mimi", f"--runs={tmp_path}"]) == 1
    assert "Did you mean mini" in capsys.readouterr().err


def test_a_table_whose_protocol_holds_nothing(tmp_path):
    replace(run("CNN", 50).table, protocol=[]).save(tmp_path / "scores.npz")
    with pytest.raises(UserError, match="its protocol names nothing"):
        ScoreTable.load(tmp_path / "scores.npz")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], ""),
        (["resnet50"], "resnet50"),
        (["resnet50", "a"], "they differ: a, resnet50"),
        (["a", "{name: a, options: {drop_rate: 0}}"], "a"),
    ],
)
def test_the_backbones_of_the_runs_are_named(given, said, tmp_path):
    runs = [run("CNN", 50)]
    for number, backbone in enumerate(given):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "config.yaml").write_text(f"model: {{init_args: {{backbone: {backbone}}}}}")
        runs.append(run("SA-CNN", 50)._replace(folder=folder))
    assert reproduction_report._backbones(runs) == said


def test_report_without_runs_says_what_makes_them(tmp_path, capsys):
    assert main(["report", "--dataset=mini", f"--runs={tmp_path}"]) == 1
    assert "No tested run below" in capsys.readouterr().err


def test_report_of_an_unknown_model(tmp_path, capsys):
    assert main(["report", "--dataset=mini", "--model=smnte", f"--runs={tmp_path}"]) == 1
    assert "Did you mean smnet" in capsys.readouterr().err


@pytest.mark.parametrize(("dataset", "expected"), [("sbu", [1, 2, 3, 4, 5]), ("jhmdb_joints", [1])])
def test_splits_that_nobody_named(dataset, expected, mini_sbu, tmp_path, monkeypatch):
    """SBU's folds make one result; of others the first split is one."""
    lists = tmp_path / "joints" / "splits"
    lists.mkdir(parents=True)
    (lists / "clap_test_split1.txt").write_text("a.avi 1\n")
    data = mini_sbu if dataset == "sbu" else tmp_path / "joints"
    seen = []
    monkeypatch.setattr(reproduction, "train", lambda options, dataset: seen.append(options.split))
    monkeypatch.setattr(
        reproduction, "train_all", lambda options, dataset: seen.append(options.split)
    )
    monkeypatch.setattr(reproduction, "report", lambda options: None)
    assert (
        main(
            [
                "reproduce",
                "--dataset",
                dataset,
                "--model=sta_lstm",
                "--data",
                str(data),
                f"--runs={tmp_path}",
            ]
        )
        == 0
    )
    assert seen == expected


def test_a_split_that_does_not_exist(reproduced, capsys):
    command, _, _ = reproduced
    assert main([*command, "--splits", "7"]) == 1
    assert "split 7 was asked for" in capsys.readouterr().err
