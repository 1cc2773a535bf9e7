"""The lock file beside the ranges of setup.cfg."""

import configparser
import re
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)(?: ; ([^\\]+))?", re.MULTILINE)


def requirements() -> list[Requirement]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    lines = parser["options"]["install_requires"].splitlines()
    for extra in parser["options.extras_require"].values():
        lines += extra.splitlines()
    named = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return [Requirement(line) for line in named]


def test_every_requirement_is_locked_in_its_range_with_hashes():
    text = (ROOT / ".requirements.lock").read_text()
    locked: dict[str, list[str]] = {}
    for name, version, _ in LOCKED.findall(text):
        locked.setdefault(name.lower(), []).append(version)
    for requirement in requirements():
        name = requirement.name.lower().replace("_", "-")
        if name == "sta-tsn":
            continue
        assert locked.get(name), f"{requirement} is not locked; the file's head says how"
        for version in locked[name]:
            assert requirement.specifier.contains(version), f"{requirement}: locked {version}"
    assert text.count("--hash=sha256:") >= sum(map(len, locked.values()))


def test_the_lock_names_no_place_to_install_from():
    text = (ROOT / ".requirements.lock").read_text()
    assert not re.search(r"https?://|file:|--(extra-)?index-url|--find-links", text)
