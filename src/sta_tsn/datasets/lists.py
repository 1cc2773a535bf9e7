"""Official list files, read as they are.

Byte-order marks, Windows line ends, trailing spaces and blank lines do no harm. Whatever is wrong
in a line is said with its file and line number (the "place").
"""

import csv
import difflib
import json
from collections.abc import Iterable
from io import StringIO
from pathlib import Path, PurePosixPath

from sta_tsn.errors import DatasetError


def read_text(path: Path) -> str:
    """Return a list file's text.

    Raises:
        DatasetError: the file is empty, in another encoding than UTF-8, or cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}: byte {error.start} is not UTF-8 text; save it as UTF-8 "
            "(official lists: unpack them again)"
        ) from error
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be read ({error.strerror}); a text file is expected there"
        ) from error
    if not text.strip():
        raise DatasetError(f"{path}: the file is empty (official lists: unpack them again)")
    return text


def read_lines(path: Path) -> list[tuple[str, str]]:
    """Return (place, text) of every line that is not blank."""
    lines = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        text = line.strip()
        if text:
            lines.append((f"{path}, line {number}", text))
    return lines


def read_table(
    path: Path, columns: Iterable[str], any_form: bool = False
) -> list[tuple[str, dict[str, str]]]:
    """Return (place, row) of a CSV file with a header that has `columns`.

    Args:
        path: the file.
        columns: names that the header must have.
        any_form: for tables that people write: semicolons or tabs may stand in the place of commas,
            capitals and spaces in the header.
    """
    text = read_text(path)
    header = text.splitlines()[0]
    delimiter = max(",;\t", key=header.count) if any_form else ","
    reader = csv.DictReader(StringIO(text), delimiter=delimiter, skipinitialspace=any_form)
    if any_form:
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
    lacking = [name for name in columns if name not in (reader.fieldnames or [])]
    if lacking:
        there = ", ".join(reader.fieldnames or [])
        raise DatasetError(f"{path}, line 1: no column {', '.join(lacking)}; the header is {there}")
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


def inside(name: str, place: str, may_hold_colons: bool = False) -> str:
    """Return `name` without detours, when it is a relative path that stays inside its folder.

    Args:
        name: as a list or an archive has it.
        place: where it is written.
        may_hold_colons: a first part like `12:30.avi` is no drive of Windows.
    """
    parts = PurePosixPath(name).parts
    leaves = not parts or ".." in parts or "\\" in name or PurePosixPath(name).is_absolute()
    if leaves or (":" in parts[0] and not may_hold_colons):
        raise DatasetError(f"{place}: {name!r} is not a path inside the dataset's folder")
    return str(PurePosixPath(name))


def label_of(name: str, classes: list[str], place: str, known_from: str) -> int:
    """Return the 0-based index of a class name.

    Raises:
        DatasetError: no such class; says the nearest names.
    """
    if name in classes:
        return classes.index(name)
    near = difflib.get_close_matches(name, classes, n=2)
    hint = f" (is {' or '.join(near)} meant?)" if near else ""
    raise DatasetError(f"{place}: class {name!r} is not in {known_from}{hint}")


def without_repeats(entries: Iterable[tuple[str, object]]) -> list:
    """Return the records of (place, record) pairs.

    Raises:
        DatasetError: a video is listed twice.
    """
    first: dict[str, str] = {}
    records = []
    for place, record in entries:
        if record.id in first:
            raise DatasetError(f"{place}: {record.id} is listed already ({first[record.id]})")
        first[record.id] = place
        records.append(record)
    return records
