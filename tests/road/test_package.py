"""The package as `pip install` brings it: a wheel, far from the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Build a wheel from a copy of what is in version control, and unpack it as pip does."""
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    for name in ("src", "experiments"):
        shutil.copytree(
            ROOT / name,
            source / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"),
        )
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    command = [sys.executable, *build, "--wheel-dir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "installed")
    return folder / "installed"


def run(installed: Path, place: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run `sta-tsn` of the unpacked wheel, with `place` as the working folder."""
    return subprocess.run(
        [sys.executable, "-m", "sta_tsn", *arguments],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )


def test_the_wheel_holds_every_recipe_template_and_marker(installed):
    package = installed / "sta_tsn"
    files = {path.relative_to(package) for path in package.rglob("*")}
    for folder in ("ablations", "datasets", "models", "sweeps"):
        for recipe in (ROOT / "experiments" / folder).rglob("*.yaml"):
            assert Path("recipes", recipe.relative_to(ROOT / "experiments")) in files
    for page in (ROOT / "src/sta_tsn").glob("*/templates/*"):
        assert page.relative_to(ROOT / "src/sta_tsn") in files
    assert Path("py.typed") in files


def test_an_installed_package_trains_by_its_own_recipes_in_an_empty_folder(installed, tmp_path):
    """The recipes are found and checked; what stops the command is the folder of videos."""
    done = run(installed, tmp_path, "train", "--dataset", "folder", "--data", "absent")
    assert done.returncode == 1
    assert done.stderr.startswith(f"sta-tsn: Folder: no folder {tmp_path / 'absent'}")


def test_recipes_are_copied_out_once(installed, tmp_path):
    copied = run(installed, tmp_path, "recipes", "mine")
    assert copied.returncode == 0, copied.stderr
    assert "--experiments mine" in copied.stdout
    for recipe in (tmp_path / "mine").rglob("*.yaml"):
        same = ROOT / "experiments" / recipe.relative_to(tmp_path / "mine")
        assert recipe.read_bytes() == same.read_bytes()
    again = run(installed, tmp_path, "recipes", "mine")
    assert "is there already" in again.stderr
