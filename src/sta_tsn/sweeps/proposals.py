"""Which values a sweep's next trial gets.

They depend on the trial's number and on the results before it, not on a generator's state: a sweep
that was killed proposes the same ones again.
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
    """Hold one trial: what it was given, how it went.

    Args:
        number: from 1.
        parameters: the arguments of `sta-tsn fit` that it was given.
        state: running, finished, stopped or failed; running also where a kill left it half-done.
        values: the metric after each validation; of a stopped trial up to the judgement.
        seconds: spent on it; a kill loses those since its last value.
        pid: of its process group.
        judged: the highest band that Hyperband has looked at.
    """

    number: int
    parameters: dict[str, Any]
    state: str = "running"
    values: list[float] = field(default_factory=list)
    seconds: float = 0
    pid: int | None = None
    judged: int = 0


def num_proposals(method: str, parameters: tuple[Parameter, ...], run_cap: int | None) -> int:
    """Return how many trials a sweep is to have; `run_cap` is not None but for a grid."""
    if method != "grid":
        return run_cap
    size = math.prod(len(parameter.grid) for parameter in parameters)
    return min(size, run_cap or size)


def propose(
    method: str, parameters: tuple[Parameter, ...], sign: int, trials: list[Trial]
) -> dict[str, Any]:
    """Return the values of the next trial.

    They are the grid's in the file's order (the last parameter changes fastest), Optuna's random
    ones, or those of Optuna's tree-structured Parzen estimator, which learns from the trials so
    far.

    Args:
        method: grid, random or bayes.
        parameters: what is searched.
        sign: 1 to minimise, -1 to maximise.
        trials: those so far, fewer than `num_proposals`.
    """
    if method == "grid":
        combinations = itertools.product(*(parameter.grid for parameter in parameters))
        values = next(itertools.islice(combinations, len(trials), None))
        return {parameter.name: value for parameter, value in zip(parameters, values, strict=True)}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    samplers = {"random": optuna.samplers.RandomSampler, "bayes": optuna.samplers.TPESampler}
    sampler = samplers[method](seed=len(trials))
    direction = "minimize" if sign > 0 else "maximize"
    study = optuna.create_study(direction=direction, sampler=sampler)
    for trial in trials:
        study.add_trial(_result(trial, parameters))
    drawn = study.ask({parameter.name: parameter.domain for parameter in parameters}).params
    return {parameter.name: parameter.decode(drawn[parameter.name]) for parameter in parameters}


def _result(trial: Trial, parameters: tuple[Parameter, ...]) -> "optuna.trial.FrozenTrial":
    """Return a trial as Optuna knows it.

    Stopped and diverged ones are pruned to it, which it ranks behind the others.
    """
    from optuna.trial import TrialState, create_trial

    states = {
        "running": TrialState.RUNNING,
        "stopped": TrialState.PRUNED,
        "failed": TrialState.FAIL,
    }
    state = states.get(trial.state, TrialState.PRUNED)
    finite = {step: value for step, value in enumerate(trial.values, 1) if math.isfinite(value)}
    value = None
    if trial.state == "finished" and len(trial.values) in finite:
        state = TrialState.COMPLETE
        value = trial.values[-1]
    encoded = {}
    domains = {}
    for parameter in parameters:
        encoded[parameter.name] = parameter.encode(trial.parameters[parameter.name])
        domains[parameter.name] = parameter.domain
    return create_trial(
        state=state,
        value=value,
        params=encoded,
        distributions=domains,
        intermediate_values=finite,
    )
