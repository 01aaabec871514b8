"""What is printed: tables and lines, the same for `run.py` and `python -m deepfake`."""

import codecs
import io
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from deepfake.errors import DeepfakeError

if TYPE_CHECKING:
    from deepfake.data.audit import Finding
    from deepfake.evaluation.robustness import Robustness
    from deepfake.evaluation.sets import Measured

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
if not out.is_terminal and "COLUMNS" not in os.environ:
    out.width = 10_000  # in a pipe or a file a row is a line, for grep

SHORT = 16  # characters of a cell that is not broken


def _printable(error: UnicodeError) -> tuple[str | bytes, int]:
    """Print bytes of a name that are no letters as they are, and letters that the terminal lacks as their numbers."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


codecs.register_error("printable", _printable)
for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="printable")


def complain(error: DeepfakeError | str) -> None:
    """Print one line about what went wrong."""
    err.print("[bold red]error:[/bold red] ", end="")
    err.print(str(error).replace("\n", " "), markup=False)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; columns of numbers and times are right-aligned, and neither they nor short ones are broken."""
    wide = len(columns) > 6  # such a table stands closer
    grid = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        collapse_padding=wide,
        pad_edge=not wide,
    )
    for number, column in enumerate(columns):
        cells = [row[number] for row in rows]
        numeric = bool(rows) and all(re.fullmatch(r"[-+±.:\d ]*|nan", cell) for cell in cells)
        whole = numeric or max(map(len, [column, *cells])) <= SHORT
        grid.add_column(
            column,
            justify="right" if numeric else "left",
            overflow="ellipsis" if whole else "fold",
            no_wrap=whole,
        )
    for row in rows:
        grid.add_row(*row)
    out.print(grid)


def duration(seconds: float) -> str:
    """Write a time as `7:05` or, from an hour on, `1:07:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def metrics_table(title: str, metrics: Mapping[str, Mapping[str, float]]) -> None:
    """Print metrics, a row a metric and a column a split."""
    names = next(iter(metrics.values()))
    rows = [[name.replace("_", " "), *(f"{values[name]:.4f}" for values in metrics.values())] for name in names]
    table(title, ["", *metrics], rows)


def sets_table(title: str, rows: Sequence["Measured"]) -> None:
    """Print how good a detector is, a row a data set."""
    of_groups = any(row.by_group for row in rows)
    columns = ["", "images", "AUC", "95 % interval", "AP", "EER", "balanced", "on Real", "on Fake"]
    keys = ("average_precision", "eer", "balanced_accuracy", "accuracy_real", "accuracy_fake")
    cells = []
    for row in rows:
        low, high = row.intervals["auc"]
        numbers = [f"{row.metrics[key]:.3f}" for key in keys]
        cells.append([row.name, str(row.images), f"{row.metrics['auc']:.3f}", f"{low:.3f}-{high:.3f}", *numbers])
        if of_groups:
            cells[-1].append(f"{row.by_group['auc']:.3f}" if row.by_group else "")
    table(title, columns + ["by group"] * of_groups, cells)


def robustness_table(name: str, found: "Robustness") -> None:
    """Print the AUC on degraded images, a row a degradation, from the weakest to the strongest."""
    rows: dict[str, list[str]] = {}
    for one in found.degraded:
        rows.setdefault(one.kind, [one.kind]).append(f"{one.metrics['auc']:.3f} at {one.strength:g}")
    title = f"{name}, degraded: {found.scalar:.3f} of the clean AUC of {found.clean['auc']:.3f} is left"
    table(title, ["", *(f"strength {number}" for number in range(1, 6))], list(rows.values()))


def findings(found: Iterable["Finding"]) -> None:
    """Print what an audit found, a line each."""
    styles = {"error": "bold red", "warning": "yellow", "note": "dim"}
    for finding in found:
        out.print(f"  [{styles[finding.severity]}]{finding.severity:<8}[/]", end="")
        out.print(finding.text, markup=False)


def number(value: float | None) -> str:
    """Write a metric with four digits; one that is not there is empty."""
    return "" if value is None else f"{value:.4f}"
