"""Arguments of constructors for all stages at once: `--set` and `--workers`."""

from pathlib import Path

import pytest

from sta_tsn.errors import ConfigError
from sta_tsn.pipeline.model_check import check_model
from sta_tsn.pipeline.options import TrainOptions
from sta_tsn.pipeline.stages import plan_stages, stage_arguments
from sta_tsn.pipeline.studies import SA_CNN_TSN, STA_TSN
from sta_tsn.runs.folder import stage_fingerprint

EXPERIMENTS = str(Path(__file__).parents[2] / "experiments")


def options(*settings: str, **others) -> TrainOptions:
    return TrainOptions(experiments=EXPERIMENTS, settings=settings, **others)


def arguments(row, *settings: str, **others) -> list[str]:
    return stage_arguments(row, options(*settings, **others))


def test_a_setting_reaches_the_stages_that_take_it():
    setting = "model.hidden_dim=16"
    assert f"--{setting}" in arguments(STA_TSN, setting)
    assert f"--{setting}" not in arguments(SA_CNN_TSN, setting)


def test_a_setting_of_the_trainer_reaches_every_stage():
    setting = "trainer.precision=bf16-mixed"
    for row in (SA_CNN_TSN, STA_TSN):
        assert f"--{setting}" in arguments(row, setting)


def test_a_setting_is_part_of_the_stamp_and_workers_are_not():
    plain = stage_fingerprint(arguments(STA_TSN))
    assert stage_fingerprint(arguments(STA_TSN, "model.lr=0.5")) != plain
    assert stage_fingerprint(arguments(STA_TSN, workers=3)) == plain


def test_a_setting_that_no_stage_takes_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match=r"model\.hiden_dim.*model\.hidden_dim"):
        plan_stages(options("model.hiden_dim=16"))


@pytest.mark.parametrize("setting", ["lr=0.1", "model.lr", "loader.workers=2"])
def test_a_setting_of_another_form_is_refused(setting):
    with pytest.raises(ConfigError, match=r"a setting is model\.NAME=VALUE"):
        plan_stages(options(setting))


def test_a_value_of_another_type_is_refused_before_anything_starts():
    with pytest.raises(ConfigError, match=r"model\.lr=fast does not fit"):
        plan_stages(options("model.lr=fast"))


def test_epochs_are_short_for_the_trainers_setting():
    for row in (SA_CNN_TSN, STA_TSN):
        short = arguments(row, epochs=2)
        assert short == arguments(row, "trainer.max_epochs=2")


def test_epochs_are_refused_where_phases_say_how_many():
    of_skeletons = options(dataset="sbu", model="sta_lstm", epochs=2)
    with pytest.raises(ConfigError, match=r"model\.subnet_epochs"):
        check_model(of_skeletons)


def test_a_setting_wins_over_what_a_stage_is_told_late(tmp_path):
    """Stage two starts from the checkpoint that somebody names, not from stage one's."""
    setting = "model.backbone_checkpoint=other.ckpt"
    stage = plan_stages(options(setting, runs=str(tmp_path)))[-1]
    command = stage.command("videos")
    named = [one for one in command if one.startswith("--model.backbone_checkpoint=")]
    assert named[-1] == f"--{setting}"
    assert "last.ckpt" in named[0]


def test_the_cnn_of_the_recipes_starts_from_the_weights_beside_them():
    start = Path(EXPERIMENTS, "datasets", "demo", "start.safetensors")
    assert f"--model.weights={start}" in arguments(SA_CNN_TSN, dataset="demo")


@pytest.mark.parametrize("named", [{"backbone": "resnet18"}, {"weights": "none"}])
def test_weights_beside_the_recipes_give_way_to_what_the_command_names(named):
    line = arguments(SA_CNN_TSN, dataset="demo", **named)
    assert not [argument for argument in line if argument.endswith("start.safetensors")]
