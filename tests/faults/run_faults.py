"""`make test-faults`: try every family of faults, print the table and write tests/README.md.

python tests/faults/run_faults.py [--short] [--only FAMILY ...] [--seed 0] [--share 1]

Each family is one file beside this one. Rows of families that are left out stay as they were, each
with its own date. The short form prints its table and writes none.
"""

import argparse
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from as_tests import MACHINES, NUMBERS, try_tests  # noqa: E402
from bad_files import try_bad_files, whole_clips  # noqa: E402
from conftest import write_mini_ucf101  # noqa: E402
from disks import try_disks  # noqa: E402
from distributed import try_distributed  # noqa: E402
from hostile_input import try_hostile_input  # noqa: E402
from kills import try_kills  # noqa: E402
from long_runs import try_long  # noqa: E402
from tally import COUNTED, Tally  # noqa: E402

TABLE = HERE.parent / "README.md"
COLUMNS = ["family", "what", "tried", *COUNTED, "remark", "date", "seconds"]
HEAD = """# What was tried to break the suite

`make test-faults` tries it again and writes this table; `make test-faults SHORT=1` is the form of
CI, of some minutes. Draws are seeded. With `SHARED_DATA=folder` real clips are damaged, else clips
of the demo. Each case has a time limit: one that does not end counts as hung.

- **lost**: results that differ from those without the fault, files left over, processes that
  outlive theirs, half a file taken as whole, frames that differ between two ways of reading.
- **hung**: did not end within its time limit.
- **executed**: a planted payload left its mark.
- **unnamed**: ended by a traceback or a crash, where a sentence should say what is wrong.

"""


def families(
    short: bool, seed: int, share: float, data: Path | None
) -> dict[str, Callable[[Path], list[Tally]]]:
    """Return what runs each family in a folder.

    Args:
        short: the form of CI.
        seed: of everything that is drawn.
        share: of the full form's number of cases, where that is a matter of choice.
        data: folder of real videos.
    """

    def shared(number: int) -> int:
        return max(1, round(share * number))

    def bad_files(folder: Path) -> list[Tally]:
        return try_bad_files(folder, 90 if short else shared(1000), seed, data)

    def hostile(folder: Path) -> list[Tally]:
        return try_hostile_input(folder, 4 if short else None)

    def kills(folder: Path) -> list[Tally]:
        if short:
            return try_kills(folder, _miniature(folder), False, 1, 4, seed)
        return try_kills(folder, _miniature(folder), True, shared(4), 12, seed)

    def disks(folder: Path) -> list[Tally]:
        return try_disks(folder, _miniature(folder), step_bytes=700_000, most=shared(30))

    def ddp(folder: Path) -> list[Tally]:
        worlds = (2, 3) if share >= 1 else (2,)
        return try_distributed(folder, _miniature(folder), worlds)

    def numbers(folder: Path) -> list[Tally]:
        what = "NaN, a diverging rate, labels out of range"
        return try_tests("Numbers that go wrong", what, NUMBERS, folder)

    def machines(folder: Path) -> list[Tally]:
        what = "two machines as processes, no locks, SLURM's signal and requeue"
        return try_tests("Machines", what, MACHINES, folder)

    def long(folder: Path) -> list[Tally]:
        clips = whole_clips(folder / "clips", data, 12, seed)
        return try_long(clips, shared(20_000), shared(2000), shared(200))

    found = {"bad-files": bad_files, "hostile-input": hostile, "kills": kills, "numbers": numbers}
    if short:  # the others take longer than CI has
        return found
    return {**found, "disks": disks, "ddp": ddp, "machines": machines, "long": long}


def _miniature(folder: Path) -> Path:
    videos = folder / "videos"
    videos.mkdir()
    return write_mini_ucf101(videos)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of the full form's cases")
    parser.add_argument("--only", nargs="+", help="families, see the files beside this one")
    parser.add_argument("--table", type=Path, default=TABLE)
    options = parser.parse_args()
    data = Path(os.environ["SHARED_DATA"]) if os.environ.get("SHARED_DATA") else None
    known = families(options.short, options.seed, options.share, data)
    wrong = set(options.only or []) - set(known)
    if wrong:
        parser.error(f"{', '.join(sorted(wrong))}: families are {', '.join(known)}")
    rows = []
    is_clean = True
    for name, run in known.items():
        if options.only and name not in options.only:
            continue
        folder = Path(tempfile.mkdtemp(prefix=f"faults-{name}-"))
        begin = time.monotonic()
        try:
            tallies = run(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        seconds = time.monotonic() - begin
        for place, tally in enumerate(tallies):
            rows.append(_row(tally, seconds if place == 0 else None))
            is_clean &= tally.clean
            for case in tally.cases:
                print(f"{tally.family}, {tally.what}: {case}", flush=True)
        print(_as_table(rows[-len(tallies) :]), flush=True)
    if not options.short:
        _write(options.table, rows, options.seed)
    return 0 if is_clean else 1


def _row(tally: Tally, seconds: float | None) -> list[str]:
    counted = [str(getattr(tally, kind)) for kind in COUNTED]
    said = [tally.remark, *tally.cases[:8]]
    if len(tally.cases) > 8:
        said.append(f"and {len(tally.cases) - 8} more")
    remark = "; ".join(one for one in said if one)
    remark = re.sub(r"\s+", " ", remark).replace("|", "/")
    date = time.strftime("%Y-%m-%d", time.gmtime())
    took = "" if seconds is None else f"{seconds:.0f}"
    return [tally.family, tally.what, str(tally.tried), *counted, remark, date, took]


def _as_table(rows: list[list[str]]) -> str:
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _write(path: Path, rows: list[list[str]], seed: int) -> None:
    """Write the table; rows of families that were not tried now are kept."""
    tried = {row[0] for row in rows}
    kept = []
    if path.exists():
        for line in path.read_text().splitlines():
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            is_row = len(cells) == len(COLUMNS) and cells[0] not in ("family", "---")
            if is_row and cells[0] not in tried:
                kept.append(cells)
    command = f"`make test-faults` (seed {seed})"
    machine = f"{os.cpu_count()} cores, {_processor()}, Python {platform.python_version()}"
    path.write_text(f"{HEAD}{command}, {machine}\n\n{_as_table([*kept, *rows])}\n")
    print(f"Table: {path}", flush=True)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    sys.exit(main())
