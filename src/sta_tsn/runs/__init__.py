"""What a run on disk is: its layout, its folder, and runs read back as tables.

The names below are loaded on first use: pandas takes seconds to import.
"""

from importlib import import_module

_HOMES = {
    "load_runs": "sta_tsn.runs.run_tables",
    "Runs": "sta_tsn.runs.run_tables",
}
__all__ = list(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'sta_tsn.runs' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
