"""Errors a user can act on. `cli.py` prints them without a traceback."""

import difflib
import re
from collections.abc import Iterable

# What torch puts before the message of an error in a data loader's worker: the worker's traceback.
OF_A_WORKER = re.compile(
    r"^Caught \w+ in DataLoader worker.*^sta_tsn\.errors\.\w+: ", re.DOTALL | re.MULTILINE
)

LONGEST_NAME = 200


class UserError(Exception):
    """Say that something outside the code is wrong: the value, the place and the remedy."""

    def __str__(self) -> str:
        return OF_A_WORKER.sub("", super().__str__()).rstrip("\n")


class DatasetError(UserError):
    """Say that a dataset folder or one of its lists is not what its layout promises."""


class ConfigError(UserError):
    """Say that a name or value of the command line or of a YAML file does not exist."""


class VideoReadError(UserError):
    """Say that a video cannot be decoded; `path` and `reason` are kept for the manifest."""

    def __init__(self, path, reason: str = ""):
        """Take path and reason; DataLoader workers hand on the finished message as `path` alone."""
        self.path = str(path)
        self.reason = reason
        super().__init__(f"{path}: {reason}" if reason else str(path))

    def __reduce__(self):  # other process borders keep both fields
        return type(self), (self.path, self.reason)


def unknown(kind: str, value: str, valid: Iterable[str]) -> ConfigError:
    """Return the error for a wrong name, with the nearest valid names, or the first dozen."""
    valid = sorted(valid)
    if len(value) > LONGEST_NAME:  # received ones may be of any length, and comparing takes long
        value = f"{value[:LONGEST_NAME]}..."
    near = difflib.get_close_matches(value, valid, n=3, cutoff=0.4)
    hint = f"Valid: {', '.join(valid[:12])}."
    if near:
        hint = f"Did you mean {' or '.join(near)}?"
    return ConfigError(f"Unknown {kind} {value!r}. {hint}")
