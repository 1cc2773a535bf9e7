"""A sweep file, written as W&B defines it.

It is checked against the command line that its trials will run. The same file goes to `wandb
sweep`. What this project does not know is refused by name, never passed over.
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
    """Hold a checked sweep file.

    Args:
        path: where it lies.
        method: grid, random or bayes.
        metric: what its trials are judged by.
        sign: 1 where the metric is minimised, -1 where it is maximised.
        target: no trial is started any more once one's metric got that far.
        parameters: what is searched.
        command: of one trial, its environment variables filled in.
        run_cap: the most trials.
        bands: numbers of metric values after which Hyperband judges a trial; none without
            `early_terminate`.
        eta: Hyperband lets about one in eta go on.
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
        """Return the parameters that pictures show on a logarithmic axis."""
        return [parameter.name for parameter in self.parameters if parameter.is_log]

    def arguments(self, values: dict[str, Any]) -> list[str]:
        """Return W&B's `${args}`."""
        return [f"--{name}={value}" for name, value in values.items()]

    def trial_command(self, values: dict[str, Any], run_dir: Path) -> list[str]:
        """Return the command line of one trial.

        Beside `${args}` it is told its folder, for which a W&B agent has no word.
        """
        meaning = {
            "${env}": ["/usr/bin/env"],
            "${interpreter}": [sys.executable],
            "${args}": [*self.arguments(values), f"--run_dir={run_dir}"],
        }
        words = []
        for part in self.command:
            words.extend(meaning.get(part, [part]))
        return words

    @property
    def fingerprint(self) -> str:
        """Return what changes with what decides the trials.

        It does not change with `run_cap` and the target, so that a sweep can be extended. Files
        that the command names count by their content, but for the manifest, which the first trial
        may write.
        """
        arguments = fit_arguments(self.command)
        inputs = stage_fingerprint(
            [one for one in arguments if not one.startswith("--data.manifest=")]
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
    """Return what follows the verb `fit`, without `${args}`."""
    after = command.index("fit") + 1
    return [part for part in command[after:] if part != "${args}"]


def read_sweep(path: Path) -> SweepFile:
    """Read and check a sweep file.

    Raises:
        ConfigError: a key, parameter, metric, method or distribution that does not exist, or
            something missing; names the value, the place and what would do.
    """
    content = read_yaml(path)
    place = str(path)
    _check_outline(content, place)
    parameters = []
    for name, settings in content["parameters"].items():
        parameters.append(read_parameter(name, settings, f"{place}, parameter {name}"))
    run_cap = _run_cap(content, place)
    if content["method"] == "grid":
        check_grid(parameters, place)
    command = _command(content, place)
    task = _check_command(command, parameters, place)
    metric, sign, target = _metric(content["metric"], task, place)
    tried = [f"--{parameter.name}={parameter.extremes[-1]}" for parameter in parameters]
    if metric.startswith("val/") and _val_share([*fit_arguments(command), *tried]) == 0:
        raise ConfigError(
            f"{place}: {metric} needs validation, and data.val_share is 0. Add "
            "--data.val_share=0.2, say, to the command; where it reads features, to that of the "
            "run that made them."
        )
    bands: tuple[int, ...] = ()
    eta = HYPERBAND_ETA
    if content.get("early_terminate"):
        bands, eta = _bands(content["early_terminate"], place)
    return SweepFile(
        path=Path(path),
        method=content["method"],
        metric=metric,
        sign=sign,
        target=target,
        parameters=tuple(parameters),
        command=command,
        run_cap=run_cap,
        bands=bands,
        eta=eta,
        project=content.get("project"),
        entity=content.get("entity"),
    )


def _check_outline(content: dict, place: str) -> None:
    check_keys(content, KEYS, "", place)
    for key in ("method", "metric", "parameters", "command"):
        if not content.get(key):
            raise ConfigError(
                f"{place}: `{key}` is missing. experiments/sweeps/demo_grid.yaml shows all that "
                "are needed."
            )
    if not isinstance(content["parameters"], dict):
        raise ConfigError(
            f"{place}: `parameters` holds names and their values, like "
            "model.lr: {values: [0.1, 0.01]}."
        )
    if content["method"] not in METHODS:
        raise unknown(f"method (in {place})", str(content["method"]), METHODS)


def _run_cap(content: dict, place: str) -> int | None:
    run_cap = content.get("run_cap")
    if run_cap is None:
        if content["method"] != "grid":
            raise ConfigError(
                f"{place}: method {content['method']} needs `run_cap`, the number of trials; it "
                "would never end."
            )
        return None
    if isinstance(run_cap, bool) or not isinstance(run_cap, int) or run_cap < 1:
        raise ConfigError(f"{place}: run_cap={run_cap!r} is not a number of trials (1, 2, ...).")
    return run_cap


def _command(content: dict, place: str) -> tuple[str, ...]:
    """Return the command with `${envvar:NAME}` and `${program}` replaced."""
    words = content["command"]
    if not isinstance(words, list) or "${args}" not in words or "fit" not in words:
        raise ConfigError(
            f"{place}: `command` is a list of words that runs `sta_tsn fit`, with ${{args}} where "
            "the parameters go."
        )

    def variable(match: re.Match) -> str:
        if match[1] not in os.environ:
            raise ConfigError(
                f"{place}: the command wants {match[1]}. Set that environment variable, or give it "
                f"to make: {match[1]}=…"
            )
        return os.environ[match[1]]

    parts = []
    for word in words:
        part = str(content.get("program") if word == "${program}" else word)
        if part.startswith("${") and part not in MACROS and not part.startswith("${envvar:"):
            raise unknown(f"macro (in the command of {place})", part, [*MACROS, "${envvar:NAME}"])
        parts.append(part)
    return tuple(re.sub(r"\$\{envvar:([A-Z0-9_]*)\}", variable, part) for part in parts)


def _check_command(command: tuple[str, ...], parameters: list[Parameter], place: str) -> type:
    """Return the class of the task that a trial trains.

    Raises:
        ConfigError: an argument of the command or a parameter would not do.
    """
    fixed = fit_arguments(command)
    names = [*fixed, *(f"--{parameter.name}" for parameter in parameters)]
    if any(name.startswith("--run_dir") for name in names):
        raise ConfigError(f"{place}: leave out run_dir; each trial gets a folder of its own.")
    if "--test=false" not in fixed:
        raise ConfigError(
            f"{place}: add --test=false to the command: a sweep chooses by validation, and leaves "
            "the test videos alone."
        )
    tried = []
    for parameter in parameters:
        tried.extend(f"--{parameter.name}={value}" for value in parameter.extremes)
    classes = check_arguments([*fixed, *tried], place)
    if classes["model"] is None:
        raise ConfigError(
            f"{place}: no --config file of the command names model.class_path. "
            "experiments/models/sta_tsn/ has such files."
        )
    return classes["model"]


def _val_share(arguments: list[str]) -> float | None:
    """Return `data.val_share` as it is set last; None where it is not.

    The arguments set it, the files they name, or the run whose features they name.
    """
    share = None
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == "--config":
            share = _val_share_of(Path(value), share)
        elif name == "--data.features":
            share = _val_share_of(RunFolder(Path(value).parent).config, share)
        elif name in ("--data.val_share", "--data.init_args.val_share"):
            share = float(value)
    return share


def _val_share_of(file: Path, otherwise: float | None) -> float | None:
    if not file.is_file():
        return otherwise
    section = read_yaml(file).get("data") or {}
    arguments = section.get("init_args") or {}
    return arguments.get("val_share", otherwise)


def _metric(settings: Any, task: type, place: str) -> tuple[str, int, float | None]:
    """Return the metric's name, its sign (1 to minimise, -1 to maximise) and its target."""
    settings = settings if isinstance(settings, dict) else {"name": settings}
    check_keys(settings, ("name", "goal", "target"), "metric.", place)
    name = settings.get("name")
    if name not in task.metrics:
        kind = f"metric (in {place}; {task.__name__} logs others)"
        raise unknown(kind, str(name), task.metrics)
    goal = settings.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        raise unknown(f"metric.goal (in {place})", str(goal), ("minimize", "maximize"))
    target = settings.get("target")
    if target is not None and (isinstance(target, bool) or not isinstance(target, int | float)):
        raise ConfigError(f"{place}: metric.target={target!r} is not a number.")
    sign = 1 if goal == "minimize" else -1
    return name, sign, target


def _bands(settings: Any, place: str) -> tuple[tuple[int, ...], float]:
    """Return the bands of Hyperband, and eta.

    With `min_iter` they are that many values and eta times more each; with `max_iter` and `s` they
    are `max_iter` divided by eta, s times.
    """
    settings = settings if isinstance(settings, dict) else {"type": settings}
    check_keys(settings, ("type", "min_iter", "max_iter", "s", "eta"), "early_terminate.", place)
    kind = settings.get("type")
    if kind != "hyperband":
        raise unknown(f"early_terminate.type (in {place})", str(kind), ["hyperband"])
    eta = settings.get("eta", HYPERBAND_ETA)
    given = settings.keys() & {"min_iter", "max_iter", "s"}
    is_complete = given in ({"min_iter"}, {"max_iter", "s"})
    if not is_complete or any(settings[key] < 1 for key in given) or eta <= 1:
        raise ConfigError(
            f"{place}: early_terminate needs either min_iter, or max_iter and s, all from 1; "
            "and eta above 1."
        )
    if "min_iter" in settings:
        first = settings["min_iter"]
        return tuple(int(first * eta**k) for k in range(NUM_BANDS)), eta
    last = settings["max_iter"]
    bands = {int(last / eta**k) for k in range(1, settings["s"] + 1)} - {0}
    if not bands:
        raise ConfigError(
            f"{place}: early_terminate.max_iter={last} divided by eta={eta} leaves no value to "
            "judge."
        )
    return tuple(sorted(bands)), eta
