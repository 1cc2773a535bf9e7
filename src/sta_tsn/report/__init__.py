"""What people look at: tables and figures beside the papers'.

The names below are loaded on first use: pandas and matplotlib take seconds to import.
"""

from importlib import import_module

_HOMES = {
    "build_report": "sta_tsn.report.page",
}
__all__ = list(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'sta_tsn.report' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
