"""Tables as CSV files, whose texts may hold names that are not valid UTF-8: such a name is still a name."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from deepfake.errors import DataError

CODING: dict[str, Any] = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}


def printable(text: str) -> str:
    """Return a text as it can be shown and kept anywhere, whatever names it holds."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def read(path: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Read some columns of a table.

    Args:
        path: Of the file, whose first line names its columns.
        columns: Names of those to read.

    Returns:
        The texts of each row; one that is not there is empty.

    Raises:
        DataError: If the file cannot be read, or lacks a column.
    """
    try:
        with path.open(**CODING) as lines:
            rows = csv.DictReader(lines)
            if rows.fieldnames is None or not set(columns) <= set(rows.fieldnames):
                raise DataError(f"{path}: its first line should be {','.join(columns)}")
            return [tuple(row[column] or "" for column in columns) for row in rows]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except csv.Error as error:
        raise DataError(f"{path} is no table as CSV: {error}") from None


def write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table: a line of the columns' names, and a line for each row."""
    with path.open("w", **CODING) as file:
        csv.writer(file).writerows([columns, *rows])
