"""The flow has one direction: a room imports only rooms above it."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "sta_tsn"
# Prediction needs a network, a video and flow for it, but no run's folder: a checkpoint is enough.
FLOW = [
    "errors",
    "lightning",
    "artefacts",
    "configuration",
    "datasets",
    "video",
    "skeletons",
    "models",
    "tasks",
    "features",
    "evaluation",
    "interference",
    "attention",
    "prediction",
    "explanation",
    "runs",
    "training",
    "report",
    "pipeline",
    "sweeps",
    "cli",
    "__main__",
]
SOURCES = sorted(PACKAGE.rglob("*.py"))


def imported_modules(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return modules


def room(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_up_the_flow(path):
    here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if here == "__init__":
        return
    for module in imported_modules(path):
        if module.startswith("sta_tsn."):
            assert FLOW.index(room(module)) <= FLOW.index(here), f"{here} imports {module}"


def test_no_file_imports_itself_through_others():
    """Faces (`__init__.py`) aside, which only hand names on; imports inside functions count."""
    names = {}
    for path in SOURCES:
        if path.name != "__init__.py":
            parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
            names[".".join(parts)] = path
    left = {name: imported_modules(path) & names.keys() for name, path in names.items()}
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert not left


OTHER_MATTERS = {
    "models": r"datasets|lightning|\.video",
    "datasets": r"^torch|^sta_tsn\.models|lightning",
}


@pytest.mark.parametrize("name", OTHER_MATTERS)
def test_models_and_datasets_know_nothing_of_each_other(name):
    """Nor do models know Lightning, and datasets torch."""
    for path in (PACKAGE / name).rglob("*.py"):
        for module in imported_modules(path):
            assert not re.search(OTHER_MATTERS[name], module), f"{path} imports {module}"


def test_every_module_says_what_it_is():
    assert not [path for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text()))]
