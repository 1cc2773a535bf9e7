"""One renderer: pages hold everything they show, and nothing received becomes HTML."""

import re

import matplotlib.pyplot as plt
import pandas as pd
import torch

from sta_tsn.artefacts import save_figure
from sta_tsn.evaluation import ScoreTable
from sta_tsn.evaluation.charts import confusion_figure
from sta_tsn.report.clip_pictures import describe_answer
from sta_tsn.report.findings import (
    accuracy_sentence,
    backbone_of,
    confused_pairs,
    curves_chart,
    least_recognised,
    wrong_clips,
)
from sta_tsn.report.page import build_report
from sta_tsn.report.renderer import Picture, Report, Section, write_page

PROTOCOL = {
    "dataset": "UCF101",
    "split": 1,
    "seed": 0,
    "segments": 3,
    "frames_per_segment": 10,
    "crops": 10,
    "missing": 0,
    "commit": "abc",
}


def answers(said: list[int], true: list[int], classes: list[str]) -> ScoreTable:
    """Each video's answer is two logits above the rest; later videos are surer."""
    scores = torch.zeros(len(said), len(classes))
    labels = torch.zeros(len(said), len(classes), dtype=torch.bool)
    for video, (predicted, shown) in enumerate(zip(said, true, strict=True)):
        scores[video, predicted] = 2 + video
        labels[video, shown] = True
    return ScoreTable([f"v{i}" for i in range(len(said))], scores, labels, classes, PROTOCOL)


def test_a_page_opens_without_its_folder(tmp_path):
    picture = tmp_path / "chart.png"
    save_figure(plt.figure(), picture)
    section = Section("Charts", pictures=[Picture(picture, "a chart")])
    page = write_page(Report("title", "verdict", {}, [section]), tmp_path / "index.html")
    text = page.read_text()
    assert 'src="data:image/png;base64,' in text
    assert not re.search(r'(src|href)="(?!data:)', text)


def test_names_and_facts_are_text_whatever_they_hold(tmp_path):
    bad = "<script>alert(1)</script>"
    table = pd.DataFrame({bad: [bad]}, index=[bad])
    section = Section(bad, bad, table, best=bad)
    page = write_page(Report(bad, bad, {"commit": bad}, [section]), tmp_path / "index.html")
    assert "<script" not in page.read_text()
    assert page.read_text().count("&lt;script&gt;") >= 8


def test_received_class_and_video_names_are_text_on_the_page_of_a_training(tmp_path):
    bad = "<img src=x onerror=alert(1)>"
    received = answers([0, 1], [0, 0], [bad, "b"])
    received.ids[1] = bad
    received.save(tmp_path / "scores.npz")
    scores = {"rgb": {bad: tmp_path / "scores.npz"}}
    build_report("Table 2", scores, lambda folder: [], tmp_path / "report")
    assert "<img src=x" not in (tmp_path / "report" / "index.html").read_text()


def test_the_best_row_is_marked_once(tmp_path):
    (tmp_path / "config.yaml").write_text("model: {init_args: {backbone: test_resnet}}")
    answers([0, 1, 0], [0, 0, 0], ["a", "b"]).save(tmp_path / "low.npz")
    answers([0, 0, 0], [0, 0, 0], ["a", "b"]).save(tmp_path / "high.npz")
    scores = {"rgb": {"CNN": tmp_path / "high.npz", "STA-TSN": tmp_path / "low.npz"}}
    build_report("Table 2", scores, lambda folder: [], tmp_path, "sta-tsn train")
    text = (tmp_path / "index.html").read_text()
    (marked,) = re.findall(r'<tr class="best"><th scope="row">(\S+)', text)
    assert marked == "CNN"
    assert "Best row: CNN, 100.0 %" in text
    for fact in ("UCF101, split 1", "test_resnet", "sta-tsn train", "STA-TSN: 66.7 %"):
        assert fact in text


def test_the_sentence_says_the_interval():
    said = accuracy_sentence("CNN", answers([0, 1], [0, 0], ["a", "b"]))
    assert said.startswith("**CNN: 50.0 %** of the 2 test videos")
    assert re.search(r"95 % interval \d+\.\d to \d+\.\d %", said)


def test_the_surest_wrong_answer_comes_first():
    (found,) = wrong_clips(answers([1, 0, 1], [0, 0, 0], ["a", "b"]))
    assert list(found.table["video"]) == ["v2", "v0"]
    assert list(found.table["taken for"]) == ["b", "b"]
    assert wrong_clips(answers([0], [0], ["a", "b"])) == []


def test_the_answers_farthest_from_the_truth_are_others():
    table = answers([1] * 20, [0] * 20, ["a", "b", "c"])
    table.scores[3] = torch.tensor([-40.0, 1.0, 1.1])  # unsure, and far from the truth
    surest, farthest = wrong_clips(table)
    assert "v3" not in list(surest.table["video"])
    assert farthest.table["video"][0] == "v3"
    assert not set(surest.table["video"]) & set(farthest.table["video"])


def test_wrong_answers_have_their_pictures(tmp_path):
    asked = []

    def draw(ids, folder):
        asked.extend(ids)
        save_figure(plt.figure(), folder / "wrong_1.jpg")
        return {ids[0]: Picture(folder / "wrong_1.jpg", "It looks left.", "tile")}

    answers([1, 0], [0, 0], ["a", "b"]).save(tmp_path / "scores.npz")
    scores = {"rgb": {"CNN": tmp_path / "scores.npz"}}
    build_report("TSN", scores, lambda folder: [], tmp_path / "report", "", draw)
    text = (tmp_path / "report" / "index.html").read_text()
    assert asked == ["v0"]
    assert 'src="data:image/jpeg;base64,' in text
    assert "v0: a, taken for b (0.88). It looks left." in text


def test_four_hundred_classes_are_listed_as_pairs():
    classes = [f"class {k}" for k in range(400)]
    true = [*range(400), 7, 7]
    said = [*range(400), 9, 9]
    (line,) = confused_pairs(answers(said, true, classes)).table.to_dict("records")
    assert line == {"shows": "class 7", "taken for": "class 9", "videos": 2, "of": 3}
    assert confused_pairs(answers([1], [0], ["a", "b"])) is None


def test_few_classes_have_their_counts_in_the_cells():
    figure = confusion_figure(answers([0, 0, 1], [0, 0, 0], ["a", "b"]), "title")
    assert [text.get_text() for text in figure.axes[0].texts] == ["2", "1"]
    many = answers([*range(50)], [*range(50)], [str(k) for k in range(50)])
    assert not confusion_figure(many, "title").axes[0].texts


def test_learning_curves_are_drawn_where_they_were_logged(tmp_path):
    logged = tmp_path / "metrics.csv"
    logged.write_text("epoch,step,train/loss,val/loss\n0,3,1.5,\n0,3,,1.4\n1,6,1.1,\n1,6,,1.2\n")
    assert curves_chart({"CNN": logged, "none": tmp_path / "no.csv"}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert not curves_chart({"none": tmp_path / "no.csv"}, tmp_path / "other.png")
    assert not (tmp_path / "other.png").exists()


def test_a_right_answer_is_not_said_to_be_taken_for_itself():
    assert describe_answer(["golf"], "golf") == "golf, recognised"
    assert describe_answer(["golf"], "run") == "golf, taken for run"


def test_a_backbone_is_named_as_the_run_or_its_stage_one_tells(tmp_path):
    one = tmp_path / "backbone"
    two = tmp_path / "temporal"
    one.mkdir()
    two.mkdir()
    (one / "config.yaml").write_text("model: {init_args: {backbone: {name: resnet18}}}")
    checkpoint = one / "checkpoints" / "last.ckpt"
    text = f"model: {{init_args: {{backbone_checkpoint: {checkpoint}}}}}"
    (two / "config.yaml").write_text(text)
    assert backbone_of(one) == "resnet18"
    assert backbone_of(two) == "resnet18"
    assert backbone_of(tmp_path) == ""


def test_many_classes_are_listed_from_the_least_recognised():
    classes = [f"class {k}" for k in range(60)]
    said = [*range(60)]
    said[7] = 8
    found = least_recognised(answers(said, [*range(60)], classes))
    assert found.table.iloc[0].to_dict() == {"class": "class 7", "accuracy %": "0", "videos": 1}
    assert least_recognised(answers([0], [0], ["a", "b"])) is None
