"""What users of LightningCLI type is understood by `sta-tsn fit`."""

import inspect

import pytest
import torch
import yaml
from tests_support import write_mini_experiments

from sta_tsn import models, tasks
from sta_tsn.cli import main
from sta_tsn.errors import ConfigError
from sta_tsn.runs.folder import RunFolder
from sta_tsn.tasks.backbone import FrameRecognition
from sta_tsn.training.command_line import as_assignments, only_shows


def test_values_may_follow_their_names():
    typed = ["-c", "a.yaml", "--run_dir", "here", "--data.seed", "-1", "--test=false", "--help"]
    assert as_assignments(typed) == [
        "--config=a.yaml",
        "--run_dir=here",
        "--data.seed=-1",
        "--test=false",
        "--help",
    ]
    assert as_assignments(["--print_config", "a.yaml"]) == ["--print_config", "a.yaml"]


def test_help_of_a_class_that_is_not_there_names_the_nearest():
    with pytest.raises(ConfigError, match="MotionBackbone"):
        only_shows(["--model.help=sta_tsn.tasks.MotionBakbone"])


@pytest.fixture
def files(tmp_path, mini_ucf101) -> list[str]:
    """Return the options that name a row's and a dataset's recipe."""
    experiments = write_mini_experiments(tmp_path, mini_ucf101)
    row = experiments / "models/sta_tsn/cnn.yaml"
    return [f"--config={row}", "-c", str(experiments / "datasets/mini/backbone.yaml")]


def test_the_composed_configuration_is_printed_and_nothing_done(files, capsys):
    with pytest.raises(SystemExit) as end:
        main(["fit", *files, "--model.lr", "0.5", "--print_config"])
    assert end.value.code == 0
    composed = yaml.safe_load(capsys.readouterr().out)
    assert composed["model"]["init_args"]["lr"] == 0.5
    assert composed["data"]["init_args"]["batch_size"] == 4


def test_further_callbacks_and_loggers_and_a_checkpoint_to_go_on_from(files, tmp_path, capsys):
    files += ["--data.manifest", str(tmp_path / "manifest.csv"), "--test", "false"]
    earlier = RunFolder(tmp_path / "earlier")
    options = ["--run_dir", str(earlier.path), "--trainer.max_epochs", "1"]
    assert main(["fit", *files, *options]) == 0
    later = RunFolder(tmp_path / "later")
    options = ["--run_dir", str(later.path), "--trainer.max_epochs", "2"]
    options += ["--ckpt_path", str(earlier.last)]
    options += ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor", "val/loss"]
    options += ["--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", str(tmp_path)]
    assert main(["fit", *files, *options]) == 0
    began = torch.load(earlier.last, weights_only=True)
    ended = torch.load(later.last, weights_only=True)
    assert ended["global_step"] == 2 * began["global_step"]
    assert (began["epoch"], ended["epoch"]) == (0, 1)
    assert "EarlyStopping" in str(ended["callbacks"])
    assert next(tmp_path.glob("lightning_logs/*/metrics.csv")).stat().st_size
    assert later.metrics.stat().st_size
    options = ["--run_dir", str(tmp_path / "none"), "--ckpt_path", "absent.ckpt"]
    assert main(["fit", *files, *options]) == 1
    assert "absent.ckpt: no such checkpoint" in capsys.readouterr().err


PUBLIC = [getattr(room, name) for room in (models, tasks) for name in room.__all__]
CLASSES = [one for one in PUBLIC if isinstance(one, type)]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_public_constructor_names_its_arguments(kind):
    arguments = inspect.signature(kind).parameters.values()
    hidden = [one.name for one in arguments if one.kind is one.VAR_KEYWORD]
    assert hidden == [] or kind.__init__ is torch.nn.Module.__init__


@pytest.mark.parametrize(
    "kind", [tasks.SpatialAttentionBackbone, tasks.MotionBackbone, tasks.InjectionBackbone]
)
def test_the_recipe_is_the_same_in_every_constructor(kind):
    common = inspect.signature(FrameRecognition).parameters
    own = inspect.signature(kind).parameters
    for name in list(common)[2:]:  # after the network and its classes
        assert own[name].default == common[name].default
        assert own[name].annotation == common[name].annotation
