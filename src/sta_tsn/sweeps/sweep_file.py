"""A sweep file, written as W&B defines it: read, and checked against the command line that its trials will run.

The same file goes to `wandb sweep`. What this project does not know is refused by name, never passed over.
"""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sta_tsn.artefacts import fingerprint
from sta_tsn.configuration import check_arguments, check_keys, read_yaml
from sta_tsn.errors import ConfigError, unknown
from sta_tsn.runs.folder import RunFolder, stage_fingerprint
from sta_tsn.sweeps.search_space import Parameter, check_grid, read_parameter

KEYS = (
    "program",
    "entity",
    "project",
    "name",
    "description",
    "method",
    "metric",
    "parameters",
    "early_terminate",
    "command",
    "run_cap",
)
METHODS = ("grid", "random", "bayes")
MACROS = ("${env}", "${interpreter}", "${program}", "${args}")
HYPERBAND_ETA = 3  # W&B's default
NUM_BANDS = 20


@dataclass(frozen=True)
class SweepFile:
    """A checked sweep file.

    Attributes:
        sign: 1 where the metric is minimised, -1 where it is maximised.
        target: no trial is started any more once one's metric got that far.
        bands: numbers of metric values after which Hyperband judges a trial; none without `early_terminate`.
        eta: it lets about one in eta go on.
        project: of W&B, where the trials log; None: sta-tsn.
        entity: of W&B, a user or a team; None: the user's own.
    """

    path: Path
    method: str
    metric: str
    sign: int
    target: float | None
    parameters: tuple[Parameter, ...]
    command: tuple[str, ...]
    run_cap: int | None
    bands: tuple[int, ...]
    eta: float
    project: str | None = None
    entity: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables by which the trials log where the file says, as W&B's agent does."""
        named = {"WANDB_PROJECT": self.project, "WANDB_ENTITY": self.entity}
        return {variable: name for variable, name in named.items() if name}

    @property
    def log_scaled(self) -> list[str]:
        """Parameters that pictures show on a logarithmic axis."""
        return [parameter.name for parameter in self.parameters if parameter.is_log]

    def arguments(self, values: dict[str, Any]) -> list[str]:
        """W&B's `${args}`."""
        return [f"--{name}={value}" for name, value in values.items()]

    def trial_command(self, values: dict[str, Any], run_dir: Path) -> list[str]:
        """The process of one trial; beside `${args}` it is told its folder, for which a W&B agent has no word."""
        meaning = {"${env}": ["/usr/bin/env"], "${interpreter}": [sys.executable]}
        meaning["${args}"] = [*self.arguments(values), f"--run_dir={run_dir}"]
        return [word for part in self.command for word in meaning.get(part, [part])]

    @property
    def fingerprint(self) -> str:
        """Changes with what decides the trials; not with `run_cap` and the target, so that a sweep can be extended. Files that the
        command names count by their content, but for the manifest, which the first trial may write."""
        inputs = stage_fingerprint(
            [one for one in fit_arguments(self.command) if not one.startswith("--data.manifest=")]
        )
        return fingerprint(
            [
                self.method,
                self.metric,
                self.sign,
                self.parameters,
                self.command,
                self.bands,
                self.eta,
                inputs,
            ]
        )


def fit_arguments(command: tuple[str, ...]) -> list[str]:
    """What follows the verb `fit`, without `${args}`."""
    return [part for part in command[command.index("fit") + 1 :] if part != "${args}"]


def read_sweep(path: Path) -> SweepFile:
    """Read and check a sweep file.

    Raises:
        ConfigError: a key, parameter, metric, method or distribution that does not exist, or something missing;
            names the value, the place and what would do.
    """
    content, place = read_yaml(path), str(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{place} is not a sweep file: it holds no keys.")
    check_keys(content, KEYS, "", place)
    for key in ("method", "metric", "parameters", "command"):
        if not content.get(key):
            raise ConfigError(
                f"{place}: `{key}` is missing. experiments/sweeps/demo_grid.yaml shows all that are needed."
            )
    if not isinstance(content["parameters"], dict):
        raise ConfigError(
            f"{place}: `parameters` holds names and their values, like model.lr: {{values: [0.1, 0.01]}}."
        )
    if content["method"] not in METHODS:
        raise unknown(f"method (in {place})", str(content["method"]), METHODS)
    parameters = tuple(
        read_parameter(name, settings, f"{place}, parameter {name}")
        for name, settings in content["parameters"].items()
    )
    run_cap = content.get("run_cap")
    if run_cap is not None and (
        isinstance(run_cap, bool) or not isinstance(run_cap, int) or run_cap < 1
    ):
        raise ConfigError(f"{place}: run_cap={run_cap!r} is not a number of trials (1, 2, ...).")
    if content["method"] == "grid":
        check_grid(parameters, place)
    elif run_cap is None:
        raise ConfigError(
            f"{place}: method {content['method']} needs `run_cap`, the number of trials; it would never end."
        )
    command = _command(content, place)
    task = _check_command(command, parameters, place)
    metric, sign, target = _metric(content["metric"], task, place)
    tried = [f"--{parameter.name}={parameter.extremes[-1]}" for parameter in parameters]
    if metric.startswith("val/") and _val_share([*fit_arguments(command), *tried]) == 0:
        raise ConfigError(
            f"{place}: {metric} needs validation, and data.val_share is 0. Add --data.val_share=0.2, say, to the command; where it reads "
            "features, to that of the run that made them."
        )
    bands, eta = (
        _bands(content["early_terminate"], place)
        if content.get("early_terminate")
        else ((), HYPERBAND_ETA)
    )
    return SweepFile(
        Path(path),
        content["method"],
        metric,
        sign,
        target,
        parameters,
        command,
        run_cap,
        bands,
        eta,
        content.get("project"),
        content.get("entity"),
    )


def _command(content: dict, place: str) -> tuple[str, ...]:
    """The command with `${envvar:NAME}` and `${program}` replaced."""
    if (
        not isinstance(content["command"], list)
        or "${args}" not in content["command"]
        or "fit" not in content["command"]
    ):
        raise ConfigError(
            f"{place}: `command` is a list of words that runs `sta_tsn fit`, with ${{args}} where the parameters go."
        )

    def variable(match: re.Match) -> str:
        if match[1] not in os.environ:
            raise ConfigError(
                f"{place}: the command wants {match[1]}. Set that environment variable, or give it to make: {match[1]}=…"
            )
        return os.environ[match[1]]

    parts = [
        str(content.get("program")) if part == "${program}" else str(part)
        for part in content["command"]
    ]
    for part in parts:
        if part.startswith("${") and part not in MACROS and not part.startswith("${envvar:"):
            raise unknown(f"macro (in the command of {place})", part, [*MACROS, "${envvar:NAME}"])
    return tuple(re.sub(r"\$\{envvar:([A-Z0-9_]*)\}", variable, part) for part in parts)


def _check_command(command: tuple[str, ...], parameters: tuple[Parameter, ...], place: str) -> type:
    """The class of the trained task."""
    fixed = fit_arguments(command)
    if any(
        name.startswith("--run_dir") for name in [*fixed, *(f"--{one.name}" for one in parameters)]
    ):
        raise ConfigError(f"{place}: leave out run_dir; each trial gets a folder of its own.")
    if "--test=false" not in fixed:
        raise ConfigError(
            f"{place}: add --test=false to the command: a sweep chooses by validation, and leaves the test videos alone."
        )
    tried = [
        f"--{parameter.name}={value}" for parameter in parameters for value in parameter.extremes
    ]
    classes = check_arguments([*fixed, *tried], place)
    if classes["model"] is None:
        raise ConfigError(
            f"{place}: no --config file of the command names model.class_path. experiments/models/sta_tsn/ has such files."
        )
    return classes["model"]


def _val_share(arguments: list[str]) -> float | None:
    """data.val_share as the arguments, or the files they name, or the run whose features they name, set it last; None where none does."""
    share = None
    for name, _, value in (argument.partition("=") for argument in arguments):
        files = {"--config": Path(value), "--data.features": RunFolder(Path(value).parent).config}
        if name in files and files[name].is_file():
            share = ((read_yaml(files[name]).get("data") or {}).get("init_args") or {}).get(
                "val_share", share
            )
        elif name in ("--data.val_share", "--data.init_args.val_share"):
            share = float(value)
    return share


def _metric(settings: Any, task: type, place: str) -> tuple[str, int, float | None]:
    settings = settings if isinstance(settings, dict) else {"name": settings}
    check_keys(settings, ("name", "goal", "target"), "metric.", place)
    if settings.get("name") not in task.metrics:
        raise unknown(
            f"metric (in {place}; {task.__name__} logs others)",
            str(settings.get("name")),
            task.metrics,
        )
    goal = settings.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        raise unknown(f"metric.goal (in {place})", str(goal), ("minimize", "maximize"))
    target = settings.get("target")
    if target is not None and (isinstance(target, bool) or not isinstance(target, int | float)):
        raise ConfigError(f"{place}: metric.target={target!r} is not a number.")
    return settings["name"], 1 if goal == "minimize" else -1, target


def _bands(settings: Any, place: str) -> tuple[tuple[int, ...], float]:
    """min_iter: that many values and eta times more each; max_iter and s: s times a division by eta."""
    settings = settings if isinstance(settings, dict) else {"type": settings}
    check_keys(settings, ("type", "min_iter", "max_iter", "s", "eta"), "early_terminate.", place)
    if settings.get("type") != "hyperband":
        raise unknown(
            f"early_terminate.type (in {place})", str(settings.get("type")), ["hyperband"]
        )
    eta = settings.get("eta", HYPERBAND_ETA)
    given = settings.keys() & {"min_iter", "max_iter", "s"}
    if (
        given not in ({"min_iter"}, {"max_iter", "s"})
        or any(settings[key] < 1 for key in given)
        or eta <= 1
    ):
        raise ConfigError(
            f"{place}: early_terminate needs either min_iter, or max_iter and s, all from 1; and eta above 1."
        )
    if "min_iter" in settings:
        return tuple(int(settings["min_iter"] * eta**k) for k in range(NUM_BANDS)), eta
    bands = {int(settings["max_iter"] / eta**k) for k in range(1, settings["s"] + 1)} - {0}
    if not bands:
        raise ConfigError(
            f"{place}: early_terminate.max_iter={settings['max_iter']} divided by eta={eta} leaves no value to judge."
        )
    return tuple(sorted(bands)), eta
