"""What a dry run is told, by a command line or a setting."""

import pytest

from sta_tsn.errors import ConfigError
from sta_tsn.training.dry_run import limited_to, without_dry_run


@pytest.mark.parametrize(
    ("value", "batches"), [("true", 1), ("True", 1), ("false", 0), ("3", 3), ("0", 0)]
)
def test_a_dry_run_is_a_number_of_batches(value, batches):
    arguments = ["--model.lr=1", f"--trainer.fast_dev_run={value}"]
    assert without_dry_run(arguments) == (["--model.lr=1"], batches)


def test_the_last_one_wins_and_settings_are_read_too():
    settings = ["trainer.fast_dev_run=true", "model.lr=1", "trainer.fast_dev_run=false"]
    assert without_dry_run(settings) == (["model.lr=1"], 0)


def test_other_values_are_refused():
    with pytest.raises(ConfigError, match="fast_dev_run=often"):
        without_dry_run(["--trainer.fast_dev_run=often"])


def test_one_epoch_of_so_many_batches():
    assert "--trainer.limit_train_batches=2" in limited_to(2)
