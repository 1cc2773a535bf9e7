"""Constructor arguments given to every stage of a study at once: `--set model.lr=0.01 ...`."""

from collections.abc import Sequence

from sta_tsn.configuration import classes_of, parameters
from sta_tsn.errors import ConfigError, unknown

PARTS = ("model", "data", "trainer")


def settings_of_stage(settings: Sequence[str], arguments: list[str]) -> list[str]:
    """Return those settings that a stage's classes take, as options of `sta-tsn fit`.

    Args:
        settings: each as `part.name=value`, part being model, data or trainer.
        arguments: the stage's command line without them.
    """
    taken = _names_taken(arguments) if settings else set()
    return [f"--{setting}" for setting in settings if _name_of(setting) in taken]


def check_settings(settings: Sequence[str], stages: list[list[str]]) -> None:
    """Raise for a setting that no stage takes.

    Args:
        settings: as for `settings_of_stage`.
        stages: the command line of every stage, with or without settings.

    Raises:
        ConfigError: naming the setting and the nearest valid names, or its form.
    """
    if not settings:
        return
    valid: set[str] = set()
    for arguments in stages:
        valid |= _names_taken(arguments)
    for setting in settings:
        part = setting.partition(".")[0]
        if part not in PARTS or "=" not in setting:
            raise ConfigError(
                f"--set {setting}: a setting is model.NAME=VALUE, data.NAME=VALUE "
                "or trainer.NAME=VALUE."
            )
        if _name_of(setting) not in valid:
            raise unknown("setting (of --set)", _name_of(setting), valid)


def _name_of(setting: str) -> str:
    """Return `part.name`, without what is set inside the argument (data.dataset.init_args.x)."""
    key = setting.partition("=")[0]
    return ".".join(key.split(".")[:2])


def _names_taken(arguments: list[str]) -> set[str]:
    from sta_tsn.lightning import Trainer

    classes = {**classes_of(arguments), "trainer": Trainer}
    taken = set()
    for part, kind in classes.items():
        names = parameters(kind) if kind else []
        taken |= {f"{part}.{name}" for name in names}
    return taken
