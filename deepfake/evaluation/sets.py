"""Whether a detector is as good on other data: a row of numbers for each data set, each with its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepfake.data import tables
from deepfake.evaluation import metrics, plots
from deepfake.evaluation.bootstrap import intervals
from deepfake.models.scoring import pool

TABLE = ("auc", "average_precision", "eer", "balanced_accuracy", "accuracy_real", "accuracy_fake")
LETTERS = 38  # of a data set's name on the plot


@dataclass(frozen=True)
class Measured:
    """How good a detector is on one data set.

    Attributes:
        name: Of the data set.
        images: Number of its images.
        groups: Number of groups they come from; None where each image is its own.
        threshold: The score from which an image is called Fake.
        metrics: Of the images, as of `metrics.compute`.
        intervals: Ends of the metrics' 95 % intervals, as of `bootstrap.intervals`.
        by_group: The metrics of the groups, each judged by `scoring.pool`; None where no group has several frames.
        by_group_intervals: Theirs.
    """

    name: str
    images: int
    groups: int | None
    threshold: float
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    by_group: dict[str, float] | None
    by_group_intervals: dict[str, tuple[float, float]] | None


def measure(name: str, labels: np.ndarray, scores: np.ndarray, groups: Sequence[str], threshold: float) -> Measured:
    """Measure a detector on one data set, image by image and, where groups are known, group by group.

    The score of a group is that of `scoring.pool`, as in `predict`. A source video may be there twice, as it was filmed
    and with another face. Its Real and its Fake frames are then pooled apart, but both belong to the group that the
    bootstrap draws as a whole.

    Args:
        name: Of the data set.
        labels: (N,) integers, 0 for Real and 1 for Fake.
        scores: (N,) floats, P(fake), 0 to 1.
        groups: N names of the source video or identity; N different ones say that groups are not known.
        threshold: The score from which an image is called Fake, 0 to 1.

    Returns:
        The row of the data set.

    Raises:
        ModelError: If a score is not finite.
    """
    labels, scores, names = np.asarray(labels), np.asarray(scores, np.float64), np.asarray(groups)
    of_images = metrics.compute(labels, scores, threshold), intervals(labels, scores, threshold, names)
    count = len(set(groups))
    if count == len(groups):
        return Measured(name, len(scores), None, threshold, *of_images, None, None)
    halves = [f"{label} {group}" for label, group in zip(labels, groups, strict=True)]
    _, first, half = np.unique(halves, return_index=True, return_inverse=True)
    if len(first) == len(labels):  # one frame of each, so there is nothing to pool
        return Measured(name, len(scores), count, threshold, *of_images, None, None)
    parts = np.split(scores[np.argsort(half, kind="stable")], np.cumsum(np.bincount(half))[:-1])
    pooled, labels, names = np.array([pool(part) for part in parts]), labels[first], names[first]
    of_groups = metrics.compute(labels, pooled, threshold), intervals(labels, pooled, threshold, names)
    return Measured(name, len(scores), count, threshold, *of_images, *of_groups)


def write_csv(path: Path, rows: Sequence[Measured]) -> None:
    """Write a table, a line for each data set; a number that is not there is an empty cell.

    Args:
        path: Of the file.
        rows: The data sets.
    """
    columns = [column for name in (*TABLE, "group_auc") for column in (name, f"{name}_low", f"{name}_high")]
    tables.write(path, ["name", "images", "groups", *columns, "threshold"], map(_cells, rows))


def plot(rows: Sequence[Measured]) -> Figure:
    """Draw the AUC of each data set with its 95 % interval.

    Args:
        rows: The data sets, at least one; the first is at the top.

    Returns:
        A forest plot, with the AUC by group below that by image where groups are known.
    """
    figure = plots.blank(8.4, 1.6 + 0.52 * len(rows))
    axes = figure.add_subplot()
    plots.dress(axes, "AUC on each data set", "AUC, with its 95 % interval", "")
    axes.axvline(0.5, linestyle=":", color=plots.PALE, label="Chance")
    lowest = [0.5]
    for place, row in enumerate(rows):
        by_image, by_group = (row.metrics["auc"], *row.intervals["auc"]), _group_auc(row)
        apart = 0 if row.groups is None else 0.16
        _bar(axes, place - apart, by_image, {"marker": "o", "color": plots.CURVE})
        _bar(axes, place + apart, by_group, {"marker": "D", "color": plots.INK, "markerfacecolor": "white"})
        lowest += [number for number in (*by_image, *by_group) if not math.isnan(number)]
    axes.plot([], [], "o-", color=plots.CURVE, label="By image")
    if any(row.groups for row in rows):
        axes.plot([], [], "D-", color=plots.INK, markerfacecolor="white", markersize=5, label="By group")
    axes.set(xlim=(min(lowest) - 0.03, 1.01), ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows], fontsize=8, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _cells(row: Measured) -> list[Any]:
    numbers = [number for name in TABLE for number in (row.metrics[name], *row.intervals[name])] + [*_group_auc(row)]
    texts = ["" if math.isnan(number) else f"{number:.6f}" for number in numbers]
    return [row.name, row.images, row.groups, *texts, f"{row.threshold:.6f}"]


def _group_auc(row: Measured) -> tuple[float, float, float]:
    if row.by_group is None or row.by_group_intervals is None:
        return math.nan, math.nan, math.nan
    return row.by_group["auc"], *row.by_group_intervals["auc"]


def _bar(axes: Axes, y: float, numbers: tuple[float, float, float], style: dict[str, Any]) -> None:
    """Draw a value, the low and the high end of its interval, and write them at the right; nan is not drawn."""
    value, low, high = numbers
    if math.isnan(value):
        return
    axes.plot([low, high], [y, y], color=style["color"], linewidth=2, solid_capstyle="butt", zorder=2)
    axes.plot([value], [y], **style, linestyle="", markersize=5, zorder=3, clip_on=False)
    text = f"{value:.3f}" if math.isnan(low) else f"{value:.3f}  ({low:.3f} to {high:.3f})"
    axes.text(1.02, y, text, va="center", fontsize=8, color=style["color"], transform=axes.get_yaxis_transform())


def _label(row: Measured) -> str:
    name = row.name.encode("utf-8", "replace").decode()  # of a name that is not valid UTF-8, no glyph can be drawn
    if len(name) > LETTERS:
        name = f"{name[: LETTERS // 3]}…{name[-(LETTERS - LETTERS // 3 - 1) :]}"
    of = "" if row.groups is None else f" in {row.groups:,} groups"
    lacks = ", one class only" if math.isnan(row.metrics["auc"]) else ""
    return f"{name}\n{row.images:,} images{of}{lacks}"
