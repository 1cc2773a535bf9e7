"""What a sweep searches: the parameters of its file, and how their values are distributed.

The distributions are read as W&B's own sampler reads them (github.com/wandb/sweeps: `params.py`, `config/schema.json`):

- `min` and `max` of `log_uniform`, `q_log_uniform` and `inv_log_uniform` are exponents of e; where the name ends in
  `_values` they are the values themselves. The value's logarithm is uniform between them; with `inv_` that of 1 / value,
  so `inv_log_uniform` lies between e^-max and e^-min, and `inv_log_uniform_values` where `log_uniform_values` does.
- `mu` and `sigma` (0 and 1 if left out) of `log_normal` are those of the value's logarithm.
- `q_` rounds to multiples of q (1 if left out). W&B's rounding can leave min and max; here it does not.
- A grid takes `values` without probabilities, whole numbers, and `q_uniform`: min, min + q, … below max.
- `parameters` within a parameter are refused: the command line knows no nested names.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sta_tsn.configuration import check_keys
from sta_tsn.errors import ConfigError, unknown

if TYPE_CHECKING:
    import optuna
    from scipy.stats.distributions import rv_frozen

RANGE, BELL, SHAPE = (
    {"min": None, "max": None},
    {"mu": 0, "sigma": 1},
    {"a": 1, "b": 1},
)  # None: has to be given
SMOOTH = dict.fromkeys(
    ("uniform", "log_uniform", "log_uniform_values", "inv_log_uniform", "inv_log_uniform_values"),
    RANGE,
)
SMOOTH |= {"normal": BELL, "log_normal": BELL, "beta": SHAPE}
DISTRIBUTIONS = {
    "constant": {"value": None},
    "categorical": {"values": None},
    "categorical_w_probabilities": {"values": None, "probabilities": None},
    "int_uniform": RANGE,
    **SMOOTH,
    **{
        f"q_{name}": {**keys, "q": 1}
        for name, keys in SMOOTH.items()
        if not name.startswith("inv_")
    },
}
TAIL = 1e-6  # the share of a distribution that is never drawn, at either end: normal ones reach to 4.75 sigma


@dataclass(frozen=True)
class Parameter:
    """One argument of `sta-tsn fit` and the values it may take: `values`, or what `numbers` say.

    Attributes:
        numbers: as in the file: min and max, mu and sigma, or a and b.
        q: drawn values are rounded to its multiples.
    """

    name: str
    distribution: str
    values: tuple = ()
    probabilities: tuple[float, ...] = ()
    numbers: tuple[float, ...] = ()
    q: float | None = None

    @property
    def is_log(self) -> bool:
        return "log" in self.distribution

    @property
    def domain(self) -> "optuna.distributions.BaseDistribution":
        """What Optuna draws from: a place in `values`, a whole number, or for every other distribution the share of it that lies below."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.values and not self.probabilities:
            return CategoricalDistribution(range(len(self.values)))
        if self.distribution == "int_uniform":
            return IntDistribution(*self.numbers)
        return FloatDistribution(TAIL, 1 - TAIL)

    def decode(self, drawn: float) -> Any:
        """The argument's value for what was drawn."""
        if self.probabilities:
            return self.values[np.searchsorted(self._edges[1:-1], drawn, side="right")]
        if self.values:
            return self.values[drawn]
        if self.distribution == "int_uniform":
            return drawn
        value = float(self._smooth.ppf(drawn))
        if self.q is None:
            return value
        first, last = self._multiples
        return round(
            int(min(max(round(value / self.q), first), last)) * self.q, 12
        )  # 3 * 0.1 is 0.30000000000000004

    def encode(self, value: Any) -> Any:
        """What may have been drawn for the value."""
        if self.probabilities:
            place = self.values.index(value)
            return float(self._edges[place : place + 2].mean())
        if self.values:
            return self.values.index(value)
        return (
            value
            if self.distribution == "int_uniform"
            else float(np.clip(self._smooth.cdf(value), TAIL, 1 - TAIL))
        )

    @property
    def grid(self) -> tuple:
        if self.distribution == "q_uniform":
            return tuple(
                np.arange(*self.numbers, self.q).round(12).tolist()
            )  # numpy's, as W&B: its rounding may let max in
        return self.values or tuple(range(self.numbers[0], self.numbers[1] + 1))

    @property
    def extremes(self) -> tuple:
        """Every value, or the smallest and the largest."""
        return self.values or (self.decode(self.domain.low), self.decode(self.domain.high))

    def check_reach(self, where: str) -> None:
        """Raise for values that no number can hold, or a range without a multiple of q."""
        with np.errstate(all="ignore"):
            ends = self._smooth.ppf((TAIL, 1 - TAIL))
        if not (np.isfinite(ends).all() and ends[0] < ends[1]):
            raise ConfigError(
                f"{where}: {self.numbers} lead to no finite values; {self.distribution} takes them as exponents of e."
            )
        if self.q and np.subtract(*self._multiples) > 0:
            raise ConfigError(f"{where}: no multiple of q={self.q} lies in the range.")

    @cached_property
    def _smooth(self) -> "rv_frozen":
        """The distribution before rounding."""
        from scipy import stats

        one, two = self.numbers
        match self.distribution.removeprefix("q_"):
            case "uniform":
                return stats.uniform(one, two - one)
            case "log_uniform":
                return stats.loguniform(np.exp(one), np.exp(two))
            case "inv_log_uniform":
                return stats.loguniform(np.exp(-two), np.exp(-one))
            case "log_uniform_values" | "inv_log_uniform_values":
                return stats.loguniform(one, two)
            case "normal":
                return stats.norm(one, two)
            case "log_normal":
                return stats.lognorm(two, scale=np.exp(one))
        return stats.beta(one, two)

    @property
    def _multiples(self) -> tuple[float, float]:
        """The first and last multiple of q that the distribution reaches."""
        low, high = (
            round(end / self.q, 9) for end in self._smooth.support()
        )  # 0.6 / 0.2 is 2.9999999999999996
        return np.ceil(low), np.floor(high)

    @property
    def _edges(self) -> np.ndarray:
        """Which shares of all draws belong to which of `values`: to the first those between the first two edges."""
        return np.cumsum((0, *self.probabilities))


def read_parameter(name: str, settings: Any, where: str) -> Parameter:
    """One entry of a sweep file's `parameters`; without `distribution` it is W&B's for the keys that are there.

    Raises:
        ConfigError: naming the value and `where` it was written.
    """
    if not isinstance(settings, dict) or "parameters" in settings:
        raise ConfigError(
            f"{where}: give `value`, `values`, or `min` and `max`; nested names are written flat, like model.lr."
        )
    distribution = settings.get("distribution", _implied(settings))
    if distribution not in DISTRIBUTIONS:
        raise unknown(f"distribution (in {where})", str(distribution), DISTRIBUTIONS)
    keys = DISTRIBUTIONS[distribution]
    check_keys(settings, ["distribution", *keys], "", where)
    for key, default in keys.items():
        if default is None and key not in settings:
            raise ConfigError(f"{where}: distribution {distribution} needs `{key}`.")
    if "value" in keys or "values" in keys:
        values = [settings["value"]] if "value" in keys else settings["values"]
        if (
            not isinstance(values, list)
            or not values
            or any(isinstance(value, dict) for value in values)
        ):
            raise ConfigError(f"{where}: `values` is a list of at least one number, text or list.")
        return Parameter(
            name, distribution, tuple(values), _probabilities(settings, len(values), where)
        )
    numbers = {key: settings.get(key, default) for key, default in keys.items()}
    _check_numbers(distribution, numbers, where)
    found = Parameter(name, distribution, numbers=tuple(numbers.values())[:2], q=numbers.get("q"))
    if distribution != "int_uniform":
        found.check_reach(where)
    return found


def _implied(settings: dict) -> str:
    if "value" in settings:
        return "constant"
    if "values" in settings:
        return "categorical_w_probabilities" if "probabilities" in settings else "categorical"
    return (
        "int_uniform"
        if all(isinstance(settings.get(key), int) for key in ("min", "max"))
        else "uniform"
    )


def _probabilities(settings: dict, num_values: int, where: str) -> tuple[float, ...]:
    given = settings.get("probabilities", [])
    numbers = isinstance(given, list) and all(
        isinstance(one, int | float) and one >= 0 for one in given
    )
    if "probabilities" in settings and not (
        numbers and len(given) == num_values and math.isclose(sum(given), 1, abs_tol=1e-6)
    ):
        raise ConfigError(
            f"{where}: probabilities={given!r} must be {num_values} numbers, one for each of `values`, that sum to 1."
        )
    return tuple(given)


def _check_numbers(distribution: str, numbers: dict[str, Any], where: str) -> None:
    kind = int if distribution == "int_uniform" else (int, float)
    for key, value in numbers.items():
        if not isinstance(value, kind) or isinstance(value, bool):
            wanted = (
                "a whole number"
                if kind is int
                else "a number (YAML reads 1e-4 as text; write 1.0e-4)"
            )
            raise ConfigError(f"{where}: {key}={value!r} is not {wanted}.")
        if not math.isfinite(value):
            raise ConfigError(f"{where}: {key}={value!r} is not finite.")
        if key in ("q", "sigma", "a", "b") and value <= 0:
            raise ConfigError(f"{where}: {key}={value!r} is not above 0.")
    of_values = distribution.endswith("_values")
    if "min" in numbers and (
        numbers["min"] >= numbers["max"] or (of_values and numbers["min"] <= 0)
    ):
        positive = ", both above 0" if of_values else ""
        raise ConfigError(
            f"{where}: min={numbers['min']} and max={numbers['max']} are no range: min must be below max{positive}."
        )


def check_grid(parameters: tuple[Parameter, ...], place: str) -> None:
    """Raise for a parameter that has no list of values."""
    for parameter in parameters:
        if parameter.distribution not in ("constant", "categorical", "int_uniform", "q_uniform"):
            raise ConfigError(
                f"{place}, parameter {parameter.name}: a grid needs `values`, not distribution {parameter.distribution}."
            )
