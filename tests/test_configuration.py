"""Classes that recipes and received runs name.

They are of the kind that the place takes, or refused before they are called.
"""

from pathlib import Path

import pytest
import torch
import yaml

from sta_tsn.configuration import check_arguments, check_class_paths, read_yaml
from sta_tsn.errors import ConfigError
from sta_tsn.runs.folder import RunFolder
from sta_tsn.runs.run_videos import run_videos
from sta_tsn.training.stage import fit_and_test
from sta_tsn.training.stage_cli import StageCLI


def evil(left) -> dict:
    """Return what ran a shell command: a class of Python's own, whose constructor starts one."""
    return {"class_path": "imaplib.IMAP4_stream", "init_args": {"command": f"touch {left}"}}


def recipe(**changed) -> dict:
    dataset = {"class_path": "sta_tsn.datasets.Folder", "init_args": {"root": "absent"}}
    return {
        "model": {
            "class_path": "sta_tsn.tasks.SpatialAttentionBackbone",
            "init_args": {"backbone": "test_resnet", "weights": "none"},
        },
        "data": {
            "class_path": "sta_tsn.video.VideoDataModule",
            "init_args": {"dataset": dataset, "manifest": "m.csv"},
        },
        "trainer": {"accelerator": "cpu"},
        **changed,
    }


def placed(place: str, value) -> dict:
    """Return a recipe with the value at a dotted place."""
    content = recipe()
    *above, last = place.split(".")
    inner = content
    for name in above:
        inner = inner.setdefault(name, {})
    inner[last] = value
    return content


PLACES = [
    "model",
    "data",
    "data.init_args.dataset",
    "data.init_args.dataset.init_args.root",
    "model.init_args.backbone",
    "model.init_args.lr",
    "trainer.callbacks",
    "trainer.logger",
    "trainer.strategy",
    "trainer.plugins",
    "trainer.profiler",
    "trainer.accelerator",
    "optimizer",
    "lr_scheduler",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("in_a_list", [False, True])
def test_a_class_path_that_runs_a_command_is_refused_at_every_place(tmp_path, place, in_a_list):
    left = tmp_path / "left"
    file = tmp_path / "config.yaml"
    payload = [evil(left)] if in_a_list else evil(left)
    file.write_text(yaml.safe_dump(placed(place, payload)))
    with pytest.raises(ConfigError, match=r"imaplib|no class is taken"):
        fit_and_test([f"--config={file}", f"--run_dir={tmp_path / 'run'}"])
    assert not left.exists()


@pytest.fixture
def videos(mini_ucf101, tmp_path) -> Path:
    """Return a recipe over real videos."""
    content = recipe()
    content["data"]["init_args"] = {
        "dataset": {
            "class_path": "sta_tsn.datasets.UCF101",
            "init_args": {"root": str(mini_ucf101)},
        },
        "manifest": str(tmp_path / "manifest.csv"),
    }
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (2, 2), (0, 3)])
def test_a_stage_computes_with_as_many_threads_as_its_recipe_says(videos, tmp_path, asked, given):
    RunFolder(tmp_path / "run").note(wandb_id="as a stage that has begun")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        StageCLI([f"--config={videos}", f"--run_dir={tmp_path / 'run'}", f"--threads={asked}"])
        assert torch.get_num_threads() == given
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "override",
    [
        "--data.dataset.class_path=imaplib.IMAP4_stream",
        "--trainer.callbacks=imaplib.IMAP4_stream",
        "--trainer.callbacks+={class_path: imaplib.IMAP4_stream}",
        "--trainer.strategy.class_path=imaplib.IMAP4_stream",
        "--model=imaplib.IMAP4_stream",
        "--trainer.callbacks=other/file.yaml",
        "--trainer.callbacks={class_path: pytorch_lightning.callbacks.LambdaCallback, "
        "init_args: {on_fit_start: os.system}}",
    ],
)
def test_overrides_name_classes_of_the_right_kind_too(tmp_path, override):
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(recipe()))
    with pytest.raises(ConfigError, match=r"class"):
        check_class_paths([f"--config={file}", override])


def test_a_received_run_names_no_other_class_than_a_dataset(tmp_path):
    left = tmp_path / "left"
    run = RunFolder(tmp_path)
    run.config.write_text(yaml.safe_dump(placed("data.init_args.dataset", evil(left))))
    with pytest.raises(ConfigError, match="is no VideoDataset"):
        run_videos(run)
    assert not left.exists()


def test_a_module_is_not_imported_where_it_is_one_of_pythons_own(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(recipe(model={"class_path": "antigravity.Model"})))
    with pytest.raises(ConfigError, match="not even imported"):
        check_arguments([f"--config={file}"])


def test_own_classes_of_the_right_kind_are_taken(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from sta_tsn.datasets import Folder\n"
        "from pytorch_lightning.callbacks import Callback\n"
        "class Mine(Folder): pass\n"
        "class Watch(Callback): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    content = placed("data.init_args.dataset.class_path", "mine.Mine")
    content["trainer"]["callbacks"] = [{"class_path": "mine.Watch"}]
    content["trainer"]["strategy"] = "ddp_spawn"
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(content))
    check_arguments([f"--config={file}"])


@pytest.mark.parametrize("text", ["[" * 3000, "{a: " * 3000 + "1" + "}" * 3000])
def test_yaml_nested_without_end_is_a_sentence(tmp_path, text):
    (tmp_path / "deep.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"nested too deeply|not valid YAML"):
        read_yaml(tmp_path / "deep.yaml")


def test_yaml_whose_aliases_grow_without_end_is_a_sentence(tmp_path):
    """A tenth of a kilobyte a line, nine times as many values with each."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for number in range(1, 12):
        inner = ", ".join([f"*a{number - 1}"] * 9)
        lines.append(f"a{number}: &a{number} [{inner}]")
    (tmp_path / "grown.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="aliases make more than 100,000 values"):
        read_yaml(tmp_path / "grown.yaml")
    (tmp_path / "itself.yaml").write_text("a: &a [*a]\n")
    with pytest.raises(ConfigError, match="aliases make more"):
        read_yaml(tmp_path / "itself.yaml")
    (tmp_path / "few.yaml").write_text("a: &a [1, 2]\nb: *a\n")
    assert read_yaml(tmp_path / "few.yaml") == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize("place", ["model.init_args", "data.init_args.dataset.init_args"])
@pytest.mark.parametrize("value", [[1], "words"])
def test_arguments_without_names_are_a_sentence(tmp_path, place, value):
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(placed(place, value)))
    with pytest.raises(ConfigError, match=r"init_args is .*; write names and values there"):
        check_arguments([f"--config={file}"])


@pytest.mark.parametrize("text", ["- a\n", "words\n"])
def test_yaml_without_keys_is_a_sentence(tmp_path, text):
    (tmp_path / "list.yaml").write_text(text)
    with pytest.raises(ConfigError, match="holds no keys with values"):
        read_yaml(tmp_path / "list.yaml")
