"""Arguments of constructors for all stages at once: `--set` and `--workers`."""

from pathlib import Path

import pytest

from sta_tsn.errors import ConfigError
from sta_tsn.pipeline.options import TrainOptions
from sta_tsn.pipeline.studies import SA_CNN_TSN, STA_TSN
from sta_tsn.pipeline.train import check_recipes, stage_arguments
from sta_tsn.runs.folder import stage_fingerprint

EXPERIMENTS = str(Path(__file__).parents[2] / "experiments")


def options(*settings: str, workers: int | None = None) -> TrainOptions:
    return TrainOptions(experiments=EXPERIMENTS, settings=settings, workers=workers)


def arguments(row, *settings: str, workers: int | None = None) -> list[str]:
    return stage_arguments(row, options(*settings, workers=workers), Path("m.csv"), "")


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
        check_recipes(options("model.hiden_dim=16"))


@pytest.mark.parametrize("setting", ["lr=0.1", "model.lr", "loader.workers=2"])
def test_a_setting_of_another_form_is_refused(setting):
    with pytest.raises(ConfigError, match=r"a setting is model\.NAME=VALUE"):
        check_recipes(options(setting))


def test_a_value_of_another_type_is_refused_before_anything_starts():
    with pytest.raises(ConfigError, match=r"model\.lr=fast does not fit"):
        check_recipes(options("model.lr=fast"))
