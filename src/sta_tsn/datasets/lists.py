"""Official list files, read as they are: byte-order marks, Windows line ends, trailing spaces and blank lines do no harm.

Whatever is wrong in a line is said with its file and line number (the "place").
"""

import csv
import difflib
import json
from collections.abc import Iterable
from io import StringIO
from pathlib import Path, PurePosixPath

from sta_tsn.errors import DatasetError


def read_text(path: Path) -> str:
    """A list file's text; empty files and other encodings are errors."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}: byte {error.start} is not UTF-8 text; save it as UTF-8 (official lists: unpack them again)"
        ) from error
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be read ({error.strerror}); a text file is expected there"
        ) from error
    if not text.strip():
        raise DatasetError(f"{path}: the file is empty (official lists: unpack them again)")
    return text


def read_lines(path: Path) -> list[tuple[str, str]]:
    """(place, text) of every line that is not blank."""
    lines = enumerate(read_text(path).splitlines(), 1)
    return [(f"{path}, line {number}", line.strip()) for number, line in lines if line.strip()]


def read_table(path: Path, columns: Iterable[str]) -> list[tuple[str, dict[str, str]]]:
    """(place, row) of a CSV file with a header that has `columns`."""
    reader = csv.DictReader(StringIO(read_text(path)))
    lacking = [name for name in columns if name not in (reader.fieldnames or [])]
    if lacking:
        raise DatasetError(
            f"{path}, line 1: no column {', '.join(lacking)}; the header is {', '.join(reader.fieldnames or [])}"
        )
    rows = []
    for row in reader:
        place = f"{path}, line {reader.line_num}"
        if None in row or None in row.values():
            raise DatasetError(f"{place}: {len(reader.fieldnames)} columns are expected")
        rows.append((place, {key: value.strip() for key, value in row.items()}))
    if not rows:
        raise DatasetError(f"{path}: there is a header and no row below it")
    return rows


def read_json_list(path: Path) -> object:
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DatasetError(f"{path}, line {error.lineno}: not valid JSON ({error.msg})") from error


def inside(name: str, place: str) -> str:
    """`name` without detours, when it is a relative path that stays inside its folder."""
    parts = PurePosixPath(name).parts
    if (
        not parts
        or ".." in parts
        or "\\" in name
        or PurePosixPath(name).is_absolute()
        or ":" in parts[0]
    ):
        raise DatasetError(f"{place}: {name!r} is not a path inside the dataset's folder")
    return str(PurePosixPath(name))


def label_of(name: str, classes: list[str], place: str, known_from: str) -> int:
    """0-based index of a class name."""
    if name in classes:
        return classes.index(name)
    near = difflib.get_close_matches(name, classes, n=2)
    raise DatasetError(
        f"{place}: class {name!r} is not in {known_from}"
        + (f" (is {' or '.join(near)} meant?)" if near else "")
    )


def without_repeats(entries: Iterable[tuple[str, object]]) -> list:
    """The records of (place, record) pairs; a video that is listed twice is an error."""
    first: dict[str, str] = {}
    records = []
    for place, record in entries:
        if record.id in first:
            raise DatasetError(f"{place}: {record.id} is listed already ({first[record.id]})")
        first[record.id] = place
        records.append(record)
    return records
