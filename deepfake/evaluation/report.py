"""What a run leaves to be looked at: plots, sheets of pictures, tables."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from deepfake.data import Split
from deepfake.evaluation import plots

if TYPE_CHECKING:
    from deepfake.training.profile import Profile

SHEET = 32  # pictures on a sheet


def write_predictions(
    path: Path, splits: Mapping[str, Split], scores: Mapping[str, np.ndarray], threshold: float, names: Sequence[str]
) -> None:
    """Write what the model says of every image, as CSV.

    Args:
        path: Of the file.
        splits: Splits by name.
        scores: P(fake) of each split's images, shape (N,).
        threshold: P(fake) from which the verdict is the positive class.
        names: Of the negative and the positive class.
    """
    rows = [
        [split, file, group, names[label], f"{score:.6f}", names[int(score >= threshold)]]
        for split, part in splits.items()
        for file, group, label, score in zip(part.paths, part.groups, part.labels, scores[split], strict=True)
    ]
    _write_csv(path, ["split", "path", "group", "label", "p_fake", "verdict"], rows)


def write_unreadable(path: Path, unreadable: Sequence[tuple[str, str]]) -> None:
    """Write the path and the reason of each file that was left out, as CSV."""
    _write_csv(path, ["path", "reason"], unreadable)


def write_profile(path: Path, profile: "Profile") -> None:
    """Write what each operation takes of a training step, as CSV."""
    rows = [[cost.kind, cost.operation, f"{cost.milliseconds:.3f}"] for cost in profile.costs]
    _write_csv(path, ["kind", "operation", "milliseconds"], rows)


def draw_plots(
    folder: Path,
    history: Mapping[str, list[float]],
    test: Split,
    scores: np.ndarray,
    threshold: float,
    names: list[str],
) -> None:
    """Draw the training curves and how Test was told apart, as PNG files.

    Args:
        folder: Where to.
        history: Each metric's values, one an epoch.
        test: The Test split.
        scores: P(fake) of its images, shape (N,).
        threshold: P(fake) from which the verdict is the positive class.
        names: Of the negative and the positive class.
    """
    figures = {
        "curves": plots.curves(history),
        "roc": plots.roc(test.labels, scores, threshold),
        "precision_recall": plots.precision_recall(test.labels, scores, threshold),
        "confusion": plots.confusion(test.labels, scores, threshold, names),
        "histogram": plots.histogram(test.labels, scores, threshold, names),
        "most_wrong": _most_wrong(test, scores, threshold, names),
    }
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png")


def draw_augmented(path: Path, images: np.ndarray, labels: np.ndarray, names: Sequence[str], augmentation: str) -> None:
    """Draw augmented Train images (N, H, W, 3), uint8, on a sheet, as PNG."""
    title = f"Train images as the model sees them: augmentation {augmentation}"
    plots.sheet(images, [names[label] for label in labels], title).savefig(path)


def _most_wrong(test: Split, scores: np.ndarray, threshold: float, names: Sequence[str]) -> Figure:
    wrong = np.flatnonzero((scores >= threshold) != test.labels)
    worst = wrong[np.argsort(-np.abs(scores[wrong] - test.labels[wrong]), kind="stable")][:SHEET]
    captions = [f"{names[test.labels[i]]}, P({names[1].lower()}) {scores[i]:.2f}" for i in worst]
    return plots.sheet(test.images[worst], captions, "Test images that the model gets most wrong")


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    # surrogateescape: a name that is not valid UTF-8 is still a name
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        csv.writer(file).writerows([header, *rows])
