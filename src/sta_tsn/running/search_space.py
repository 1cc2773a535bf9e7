"""What a sweep searches: the parameters of its file, and the values that a trial gets.

A trial's values depend on its number and on the results before it, not on a generator's state: a sweep that was
killed proposes the same ones again.
"""

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sta_tsn.errors import ConfigError, unknown
from sta_tsn.running.configuration import check_keys

if TYPE_CHECKING:
    import optuna

BOUNDED = ("uniform", "int_uniform", "q_uniform", "log_uniform_values", "q_log_uniform_values")
DISTRIBUTIONS = ("constant", "categorical", *BOUNDED)


@dataclass(frozen=True)
class Parameter:
    """One argument of `sta-tsn fit` and the values it may take: `values`, or the range `low` to `high`."""

    name: str
    distribution: str
    values: tuple = ()
    low: float = 0
    high: float = 0
    q: float | None = None  # drawn values are rounded to its multiples

    @property
    def is_log(self) -> bool:
        return "log" in self.distribution

    @property
    def domain(self) -> "optuna.distributions.BaseDistribution":
        """What Optuna draws from: a place in `values`, or a number that is not rounded to q yet."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.values:
            return CategoricalDistribution(range(len(self.values)))
        if self.distribution == "int_uniform":
            return IntDistribution(self.low, self.high)
        return FloatDistribution(self.low, self.high, log=self.is_log)

    def decode(self, drawn: float) -> Any:
        """The argument's value for what was drawn."""
        if self.values:
            return self.values[drawn]
        if self.q is None:
            return drawn
        first, last = math.ceil(self.low / self.q), math.floor(self.high / self.q)
        return round(min(max(round(drawn / self.q), first), last) * self.q, 12)  # 3 * 0.1 is 0.30000000000000004

    def encode(self, value: Any) -> Any:
        return self.values.index(value) if self.values else value

    @property
    def grid(self) -> tuple:
        return self.values or tuple(range(self.low, self.high + 1))


def read_parameter(name: str, settings: Any, where: str) -> Parameter:
    """One entry of a sweep file's `parameters`; without `distribution` it is W&B's for the keys that are there.

    Raises:
        ConfigError: naming the value and `where` it was written.
    """
    if not isinstance(settings, dict) or "parameters" in settings:
        raise ConfigError(f"{where}: give `value`, `values`, or `min` and `max`; nested names are written flat, like model.lr.")
    implied = "constant" if "value" in settings else "categorical" if "values" in settings else "uniform"
    if implied == "uniform" and all(isinstance(settings.get(key), int) for key in ("min", "max")):
        implied = "int_uniform"
    distribution = settings.get("distribution", implied)
    if distribution not in DISTRIBUTIONS:
        raise unknown(f"distribution (in {where})", str(distribution), DISTRIBUTIONS)
    needed = {"constant": ["value"], "categorical": ["values"]}.get(distribution, ["min", "max"])
    check_keys(settings, ["distribution", *needed, *(["q"] if distribution.startswith("q_") else [])], "", where)
    for key in needed:
        if key not in settings:
            raise ConfigError(f"{where}: distribution {distribution} needs `{key}`.")
    if distribution not in BOUNDED:
        values = [settings["value"]] if distribution == "constant" else settings["values"]
        if not isinstance(values, list) or not values or any(isinstance(value, dict) for value in values):
            raise ConfigError(f"{where}: `values` is a list of at least one number, text or list.")
        return Parameter(name, distribution, tuple(values))
    low, high, q = settings["min"], settings["max"], settings.get("q", 1) if distribution.startswith("q_") else None
    _check_bounds(distribution, low, high, q, where)
    return Parameter(name, distribution, (), low, high, q)


def _check_bounds(distribution: str, low: Any, high: Any, q: Any, where: str) -> None:
    kind = int if distribution == "int_uniform" else (int, float)
    for key, value in {"min": low, "max": high, "q": 1 if q is None else q}.items():
        if not isinstance(value, kind) or isinstance(value, bool):
            wanted = "a whole number" if kind is int else "a number (YAML reads 1e-4 as text; write 1.0e-4)"
            raise ConfigError(f"{where}: {key}={value!r} is not {wanted}.")
        if not math.isfinite(value):
            raise ConfigError(f"{where}: {key}={value!r} is not finite.")
    if low >= high or (q is not None and q <= 0) or ("log" in distribution and low <= 0):
        positive = ", both above 0" if "log" in distribution else ""
        raise ConfigError(f"{where}: min={low} and max={high} are no range: min must be below max{positive}, and q above 0.")


def check_grid(parameters: tuple[Parameter, ...], place: str) -> None:
    """Raise for a parameter that has no list of values."""
    for parameter in parameters:
        if parameter.distribution not in ("constant", "categorical", "int_uniform"):
            raise ConfigError(f"{place}, parameter {parameter.name}: a grid needs `values`, not distribution {parameter.distribution}.")


@dataclass
class Trial:
    """One trial: what it was given, how it went.

    Attributes:
        state: `running` also where a kill left it half-done.
        values: the metric after each validation; of a stopped trial up to the judgement.
        seconds: spent on it; a kill loses those since its last value.
        pid: of its process group.
    """

    number: int
    parameters: dict[str, Any]
    state: str = "running"  # finished, stopped, failed
    values: list[float] = field(default_factory=list)
    seconds: float = 0
    pid: int | None = None


def num_proposals(method: str, parameters: tuple[Parameter, ...], run_cap: int | None) -> int:
    size = math.prod(len(parameter.grid) for parameter in parameters) if method == "grid" else run_cap
    return min(size, run_cap or size)


def propose(method: str, parameters: tuple[Parameter, ...], sign: int, trials: list[Trial]) -> dict[str, Any]:
    """Values of the next trial: the grid's in the file's order (the last parameter changes fastest), Optuna's random
    ones, or those of Optuna's tree-structured Parzen estimator, which learns from the trials so far.

    Args:
        sign: 1 to minimise, -1 to maximise.
    """
    if method == "grid":
        combinations = itertools.product(*(parameter.grid for parameter in parameters))
        values = next(itertools.islice(combinations, len(trials), None))
        return {parameter.name: value for parameter, value in zip(parameters, values, strict=True)}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    samplers = {"random": optuna.samplers.RandomSampler, "bayes": optuna.samplers.TPESampler}
    study = optuna.create_study(direction="minimize" if sign > 0 else "maximize", sampler=samplers[method](seed=len(trials)))
    for trial in trials:
        study.add_trial(_result(trial, parameters))
    drawn = study.ask({parameter.name: parameter.domain for parameter in parameters}).params
    return {parameter.name: parameter.decode(drawn[parameter.name]) for parameter in parameters}


def _result(trial: Trial, parameters: tuple[Parameter, ...]) -> "optuna.trial.FrozenTrial":
    """A trial for Optuna; stopped and diverged ones as pruned, which it ranks behind the others."""
    from optuna.trial import TrialState, create_trial

    finite = {step: value for step, value in enumerate(trial.values, 1) if math.isfinite(value)}
    states = {"running": TrialState.RUNNING, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
    whole = trial.state == "finished" and len(trial.values) in finite
    return create_trial(
        state=TrialState.COMPLETE if whole else states.get(trial.state, TrialState.PRUNED),
        value=trial.values[-1] if whole else None,
        params={parameter.name: parameter.encode(trial.parameters[parameter.name]) for parameter in parameters},
        distributions={parameter.name: parameter.domain for parameter in parameters},
        intermediate_values=finite,
    )
