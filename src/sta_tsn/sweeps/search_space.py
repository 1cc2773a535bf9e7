"""What a sweep searches: the parameters of its file, and how their values are distributed.

The distributions are read as W&B's own sampler reads them (github.com/wandb/sweeps: `params.py`,
`config/schema.json`):

- `min` and `max` of `log_uniform`, `q_log_uniform` and `inv_log_uniform` are exponents of e; where
  the name ends in `_values` they are the values themselves. The value's logarithm is uniform
  between them; with `inv_` that of 1 / value, so `inv_log_uniform` lies between e^-max and e^-min,
  and `inv_log_uniform_values` where `log_uniform_values` does.
- `mu` and `sigma` (0 and 1 if left out) of `log_normal` are those of the value's logarithm.
- `q_` rounds to multiples of q (1 if left out). W&B's rounding can leave min and max; here it does
  not.
- A grid takes `values` without probabilities, whole numbers, and `q_uniform`: min, min + q, … below
  max.
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

# The keys of each distribution with what they are where left out; None has to be given.
RANGE = {"min": None, "max": None}
BELL = {"mu": 0, "sigma": 1}
SHAPE = {"a": 1, "b": 1}
DISTRIBUTIONS = {
    "constant": {"value": None},
    "categorical": {"values": None},
    "categorical_w_probabilities": {"values": None, "probabilities": None},
    "int_uniform": RANGE,
    "uniform": RANGE,
    "log_uniform": RANGE,
    "log_uniform_values": RANGE,
    "inv_log_uniform": RANGE,
    "inv_log_uniform_values": RANGE,
    "normal": BELL,
    "log_normal": BELL,
    "beta": SHAPE,
    "q_uniform": {**RANGE, "q": 1},
    "q_log_uniform": {**RANGE, "q": 1},
    "q_log_uniform_values": {**RANGE, "q": 1},
    "q_normal": {**BELL, "q": 1},
    "q_log_normal": {**BELL, "q": 1},
    "q_beta": {**SHAPE, "q": 1},
}
# The share of a distribution that is never drawn, at either end: normal ones reach to 4.75 sigma.
TAIL = 1e-6


@dataclass(frozen=True)
class Parameter:
    """Say which values one argument of `sta-tsn fit` may take: `values`, or what `numbers` say.

    Args:
        name: of the argument.
        distribution: one of `DISTRIBUTIONS`.
        values: what it may be, where the file lists that.
        probabilities: of `values`; where none are given they are drawn alike.
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
        """Return what Optuna draws from.

        That is a place in `values`, a whole number, or for every other distribution the share of it
        that lies below.
        """
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.values and not self.probabilities:
            return CategoricalDistribution(range(len(self.values)))
        if self.distribution == "int_uniform":
            return IntDistribution(*self.numbers)
        return FloatDistribution(TAIL, 1 - TAIL)

    def decode(self, drawn: float) -> Any:
        """Return the argument's value for what was drawn."""
        if self.probabilities:
            inner = self._edges[1:-1]
            return self.values[np.searchsorted(inner, drawn, side="right")]
        if self.values:
            return self.values[drawn]
        if self.distribution == "int_uniform":
            return drawn
        value = float(self._smooth.ppf(drawn))
        if self.q is None:
            return value
        first, last = self._multiples
        multiple = int(min(max(round(value / self.q), first), last))
        return round(multiple * self.q, 12)  # 3 * 0.1 is 0.30000000000000004

    def encode(self, value: Any) -> Any:
        """Return what may have been drawn for the value."""
        if self.probabilities:
            place = self.values.index(value)
            return float(self._edges[place : place + 2].mean())
        if self.values:
            return self.values.index(value)
        if self.distribution == "int_uniform":
            return value
        return float(np.clip(self._smooth.cdf(value), TAIL, 1 - TAIL))

    @property
    def grid(self) -> tuple:
        """Return the values that a grid takes one after the other; see `check_grid`."""
        if self.distribution == "q_uniform":
            # By numpy, as W&B does it: its rounding may let max in.
            return tuple(np.arange(*self.numbers, self.q).round(12).tolist())
        if self.values:
            return self.values
        low, high = self.numbers
        return tuple(range(low, high + 1))

    @property
    def extremes(self) -> tuple:
        """Return every value, or the smallest and the largest."""
        return self.values or (self.decode(self.domain.low), self.decode(self.domain.high))

    def check_reach(self, where: str) -> None:
        """Raise for values that no number can hold, or a range without a multiple of q."""
        with np.errstate(all="ignore"):
            ends = self._smooth.ppf((TAIL, 1 - TAIL))
        if not (np.isfinite(ends).all() and ends[0] < ends[1]):
            raise ConfigError(
                f"{where}: {self.numbers} lead to no finite values; {self.distribution} takes them "
                "as exponents of e."
            )
        if self.q:
            first, last = self._multiples
            if first > last:
                raise ConfigError(f"{where}: no multiple of q={self.q} lies in the range.")

    @cached_property
    def _smooth(self) -> "rv_frozen":
        """Return the distribution before rounding."""
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
        """Return the first and last multiple of q that the distribution reaches, in units of q."""
        low, high = self._smooth.support()
        # Rounded first: 0.6 / 0.2 is 2.9999999999999996.
        return np.ceil(round(low / self.q, 9)), np.floor(round(high / self.q, 9))

    @property
    def _edges(self) -> np.ndarray:
        """Return which shares of all draws belong to which of `values`.

        Those between the first two edges belong to the first value, and so on.
        """
        return np.cumsum((0, *self.probabilities))


def read_parameter(name: str, settings: Any, where: str) -> Parameter:
    """Read one entry of a sweep file's `parameters`.

    Without `distribution` it is W&B's for the keys that are there.

    Raises:
        ConfigError: naming the value and `where` it was written.
    """
    if not isinstance(settings, dict) or "parameters" in settings:
        raise ConfigError(
            f"{where}: give `value`, `values`, or `min` and `max`; nested names are written flat, "
            "like model.lr."
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
        values = _listed_values(settings, where)
        probabilities = _probabilities(settings, len(values), where)
        return Parameter(name, distribution, values, probabilities)
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
    ends = (settings.get("min"), settings.get("max"))
    return "int_uniform" if all(isinstance(end, int) for end in ends) else "uniform"


def _listed_values(settings: dict, where: str) -> tuple:
    values = [settings["value"]] if "value" in settings else settings["values"]
    is_list = isinstance(values, list) and values
    if not is_list or any(isinstance(value, dict) for value in values):
        raise ConfigError(f"{where}: `values` is a list of at least one number, text or list.")
    return tuple(values)


def _probabilities(settings: dict, num_values: int, where: str) -> tuple[float, ...]:
    if "probabilities" not in settings:
        return ()
    given = settings["probabilities"]
    are_shares = isinstance(given, list) and all(
        isinstance(one, int | float) and one >= 0 for one in given
    )
    if not are_shares or len(given) != num_values or not math.isclose(sum(given), 1, abs_tol=1e-6):
        raise ConfigError(
            f"{where}: probabilities={given!r} must be {num_values} numbers, one for each of "
            "`values`, that sum to 1."
        )
    return tuple(given)


def _check_numbers(distribution: str, numbers: dict[str, Any], where: str) -> None:
    kind = int if distribution == "int_uniform" else (int, float)
    wanted = "a number (YAML reads 1e-4 as text; write 1.0e-4)"
    if kind is int:
        wanted = "a whole number"
    for key, value in numbers.items():
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ConfigError(f"{where}: {key}={value!r} is not {wanted}.")
        if not math.isfinite(value):
            raise ConfigError(f"{where}: {key}={value!r} is not finite.")
        if key in ("q", "sigma", "a", "b") and value <= 0:
            raise ConfigError(f"{where}: {key}={value!r} is not above 0.")
    if "min" in numbers:
        _check_range(numbers["min"], numbers["max"], distribution.endswith("_values"), where)


def _check_range(low: float, high: float, above_zero: bool, where: str) -> None:
    if low >= high or (above_zero and low <= 0):
        positive = ", both above 0" if above_zero else ""
        raise ConfigError(
            f"{where}: min={low} and max={high} are no range: min must be below max{positive}."
        )


def check_grid(parameters: tuple[Parameter, ...], place: str) -> None:
    """Raise for a parameter that has no list of values."""
    for parameter in parameters:
        if parameter.distribution not in ("constant", "categorical", "int_uniform", "q_uniform"):
            raise ConfigError(
                f"{place}, parameter {parameter.name}: a grid needs `values`, "
                f"not distribution {parameter.distribution}."
            )
