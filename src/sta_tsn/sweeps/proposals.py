"""Which values a sweep's next trial gets.

They depend on the trial's number and on the results before it, not on a generator's state: a sweep that was killed
proposes the same ones again.
"""

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sta_tsn.sweeps.search_space import Parameter

if TYPE_CHECKING:
    import optuna


@dataclass
class Trial:
    """One trial: what it was given, how it went.

    Attributes:
        state: `running` also where a kill left it half-done.
        values: the metric after each validation; of a stopped trial up to the judgement.
        seconds: spent on it; a kill loses those since its last value.
        pid: of its process group.
        judged: the highest band that Hyperband has looked at.
    """

    number: int
    parameters: dict[str, Any]
    state: str = "running"  # finished, stopped, failed
    values: list[float] = field(default_factory=list)
    seconds: float = 0
    pid: int | None = None
    judged: int = 0


def num_proposals(method: str, parameters: tuple[Parameter, ...], run_cap: int | None) -> int:
    size = (
        math.prod(len(parameter.grid) for parameter in parameters) if method == "grid" else run_cap
    )
    return min(size, run_cap or size)


def propose(
    method: str, parameters: tuple[Parameter, ...], sign: int, trials: list[Trial]
) -> dict[str, Any]:
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
    study = optuna.create_study(
        direction="minimize" if sign > 0 else "maximize", sampler=samplers[method](seed=len(trials))
    )
    for trial in trials:
        study.add_trial(_result(trial, parameters))
    drawn = study.ask({parameter.name: parameter.domain for parameter in parameters}).params
    return {parameter.name: parameter.decode(drawn[parameter.name]) for parameter in parameters}


def _result(trial: Trial, parameters: tuple[Parameter, ...]) -> "optuna.trial.FrozenTrial":
    """A trial for Optuna; stopped and diverged ones as pruned, which it ranks behind the others."""
    from optuna.trial import TrialState, create_trial

    finite = {step: value for step, value in enumerate(trial.values, 1) if math.isfinite(value)}
    states = {
        "running": TrialState.RUNNING,
        "stopped": TrialState.PRUNED,
        "failed": TrialState.FAIL,
    }
    whole = trial.state == "finished" and len(trial.values) in finite
    return create_trial(
        state=TrialState.COMPLETE if whole else states.get(trial.state, TrialState.PRUNED),
        value=trial.values[-1] if whole else None,
        params={
            parameter.name: parameter.encode(trial.parameters[parameter.name])
            for parameter in parameters
        },
        distributions={parameter.name: parameter.domain for parameter in parameters},
        intermediate_values=finite,
    )
