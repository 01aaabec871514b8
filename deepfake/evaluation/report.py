"""What a run leaves to be looked at: plots, sheets of pictures, tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from deepfake.data import tables
from deepfake.data.audit import Audit
from deepfake.data.dataset import Data, Split
from deepfake.data.duplicates import Pair
from deepfake.evaluation import calibration, plots, robustness, sets
from deepfake.evaluation.assessment import Assessment, plain_name
from deepfake.evaluation.explain import most_confident
from deepfake.evaluation.heatmap import explainer
from deepfake.evaluation.robustness import Robustness
from deepfake.evaluation.sets import Measured

if TYPE_CHECKING:
    import keras

    from deepfake.training.profile import Profile

SHEET = 32  # pictures on a sheet


def write_predictions(path: Path, splits: Mapping[str, Split], assessed: Assessment, names: Sequence[str]) -> None:
    """Write what the model says of every image, as CSV: calibrated P(fake), and the class of the side it is on.

    Args:
        path: Of the file.
        splits: Splits by name.
        assessed: The model's scores and threshold.
        names: Of the negative and the positive class.
    """
    rows = [
        [split, file, group, names[label], f"{score:.6f}", names[int(score >= assessed.threshold)]]
        for split, part in splits.items()
        for file, group, label, score in zip(part.paths, part.groups, part.labels, assessed.scores[split], strict=True)
    ]
    tables.write(path, ["split", "path", "group", "label", "p_fake", "verdict"], rows)


def write_unreadable(path: Path, unreadable: Sequence[tuple[str, str]]) -> None:
    """Write the path and the reason of each file that was left out, as CSV."""
    tables.write(path, ["path", "reason"], unreadable)


def write_audit(folder: Path, data: Data, found: Audit, names: Sequence[str]) -> None:
    """Write what an audit found: `findings.csv`, `pairs.csv`, `traits.csv` and sheets of the pictures, as PNG.

    Args:
        folder: Where to; it must be there.
        data: The data set.
        found: What was found in it.
        names: Of the negative and the positive class.
    """
    files, pairs, shortcuts = data.decoded.files, found.evidence.pairs, found.evidence.shortcuts
    tables.write(folder / "findings.csv", ["severity", "finding"], [[f.severity, f.text] for f in found.findings])
    rows = [[pair.kind, f"{pair.similarity:.4f}", files[pair.a].path, files[pair.b].path] for pair in pairs]
    tables.write(folder / "pairs.csv", ["kind", "similarity", "path_a", "path_b"], rows)
    traits = [[name, f"{auc:.4f}"] for name, auc in shortcuts.by_trait.items()]
    rows = [["all of them", f"{shortcuts.classifier_auc:.4f}"], *traits]
    tables.write(folder / "traits.csv", ["trait", "auc"], rows)
    if pairs:
        _pairs(data, pairs).savefig(folder / "pairs.png")
    labels = data.joined().labels
    chosen = np.concatenate([np.flatnonzero(labels == label)[: SHEET // 2] for label in (0, 1)])
    title = f"{data.name}: {names[0]} and {names[1]}"
    plots.sheet(data.decoded.images[chosen], [names[labels[i]] for i in chosen], title).savefig(folder / "examples.png")


def write_profile(path: Path, profile: "Profile") -> None:
    """Write what each operation takes of a training step, as CSV."""
    rows = [[cost.kind, cost.operation, f"{cost.milliseconds:.3f}"] for cost in profile.costs]
    tables.write(path, ["kind", "operation", "milliseconds"], rows)


def write_measured(folder: Path, rows: Sequence[Measured], worn: Mapping[str, Robustness]) -> None:
    """Write and draw a model's numbers on data sets, and on degraded images where these were measured.

    Args:
        folder: For `evaluation.csv` and `.png`, and `robustness NAME.csv` and `.png`; it is made.
        rows: A row a data set.
        worn: The numbers on degraded images, by the data set's name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sets.write_csv(folder / "evaluation.csv", rows)
    sets.plot(rows).savefig(folder / "evaluation.png")
    for name, found in worn.items():
        stem = f"robustness {plain_name(name)}"
        robustness.write_csv(folder / f"{stem}.csv", found)
        robustness.plot(found).savefig(folder / f"{stem}.png")


def draw_curves(path: Path, history: dict[str, list[float]]) -> None:
    """Draw the training curves, of each metric's values, one an epoch, as PNG."""
    plots.curves(history).savefig(path)


def draw_plots(folder: Path, test: Split, assessed: Assessment, names: list[str]) -> None:
    """Draw how Test was told apart, as PNG files.

    Args:
        folder: Where to.
        test: The Test split.
        assessed: The model's scores and threshold.
        names: Of the negative and the positive class.
    """
    labels, scores, threshold = test.labels, assessed.scores["Test"], assessed.threshold
    figures = {
        "roc": plots.roc(labels, scores, threshold),
        "precision_recall": plots.precision_recall(labels, scores, threshold),
        "confusion": plots.confusion(labels, scores, threshold, names),
        "histogram": plots.histogram(labels, scores, threshold, names),
        "reliability": calibration.reliability(labels, assessed.raw["Test"], scores),
        "most_wrong": _most_wrong(test, scores, threshold, names),
    }
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png")


def draw_explained(path: Path, model: "keras.Model", test: Split, assessed: Assessment, names: Sequence[str]) -> None:
    """Draw the surest verdicts on Test, right and wrong, with their heat maps, as PNG."""
    scores = assessed.scores["Test"]
    explain = explainer(model)
    most_confident(test.images, test.labels, scores, assessed.threshold, explain, names).savefig(path)


def draw_augmented(path: Path, images: np.ndarray, labels: np.ndarray, names: Sequence[str], augmentation: str) -> None:
    """Draw augmented Train images (N, H, W, 3), uint8, on a sheet, as PNG."""
    title = f"Train images as the model sees them: augmentation {augmentation}"
    plots.sheet(images, [names[label] for label in labels], title).savefig(path)


def _pairs(data: Data, pairs: Sequence[Pair]) -> Figure:
    """Draw pairs of copies side by side: those of two splits, then of two classes, then the others."""
    files = data.decoded.files

    def harm(pair: Pair) -> tuple[bool, bool]:
        a, b = files[pair.a], files[pair.b]
        return a.split == b.split, a.label == b.label

    shown = sorted(pairs, key=harm)[: SHEET // 2]
    images = data.decoded.images
    tiles = np.array([np.concatenate([images[pair.a], images[pair.b]], axis=1) for pair in shown])
    captions = [tables.printable(f"{pair.kind}: {files[pair.a].path}, {files[pair.b].path}") for pair in shown]
    return plots.sheet(tiles, captions, f"{data.name}: pictures that are there twice", columns=4)


def _most_wrong(test: Split, scores: np.ndarray, threshold: float, names: Sequence[str]) -> Figure:
    wrong = np.flatnonzero((scores >= threshold) != test.labels)
    worst = wrong[np.argsort(-np.abs(scores[wrong] - test.labels[wrong]), kind="stable")][:SHEET]
    captions = [f"{names[test.labels[i]]}, P({names[1].lower()}) {scores[i]:.2f}" for i in worst]
    return plots.sheet(test.images[worst], captions, "Test images that the model gets most wrong")
