"""Pictures of a run and of a detector's scores.

Every function returns a `matplotlib.figure.Figure` of its own: no pyplot, so no display, no global state and nothing to
close. The colours are those of Okabe & Ito, "Color Universal Design" (2008), which colour-blind people can tell apart.
"""

import math
import textwrap
import warnings

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from deepfake.evaluation import metrics

DPI = 110
REAL, FAKE = "#0072B2", "#D55E00"
TRAIN, VALIDATION, CURVE = "#E69F00", "#009E73", "#009E73"
INK, PALE = "#333333", "#8C8C8C"
BINS = np.linspace(0, 1, 41)

warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a name in another script: boxes stand for it

PANELS = (
    ("Loss", "linear", {"loss": ("Train", TRAIN), "val_loss": ("Validation", VALIDATION)}),
    ("Accuracy", "linear", {"accuracy": ("Train", TRAIN), "val_accuracy": ("Validation", VALIDATION)}),
    ("AUC", "linear", {"auc": ("Train", TRAIN), "val_auc": ("Validation", VALIDATION)}),
    ("Learning rate", "log", {"learning_rate": ("Learning rate", INK)}),
)

TILE = 110, 256  # pixels of a picture's width on a sheet: smaller ones are enlarged, larger ones shrunk
LETTER, LINE = 6.5, 13  # pixels of a caption's letter and line, at 7 points


def curves(history: dict[str, list[float]]) -> Figure:
    """Draw how training went, epoch by epoch.

    Args:
        history: One value for each epoch of any of `loss`, `accuracy`, `auc`, the same with `val_`, and
            `learning_rate`, as Keras names them; other keys are not drawn.

    Returns:
        A panel for each quantity that is there, with its last value in the legend.
    """
    panels = [(title, scale, lines) for title, scale, lines in PANELS if any(history.get(key) for key in lines)]
    if not panels:
        return note("Training", "no epoch has ended")
    rows, columns = math.ceil(len(panels) / 2), min(len(panels), 2)
    figure = blank(5 * columns, 3.4 * rows)
    for place, (title, scale, lines) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, place)
        for key, (name, color) in lines.items():
            values = history.get(key, [])
            if values:
                epochs = range(1, len(values) + 1)
                axes.plot(epochs, values, "o-", color=color, label=f"{name} {values[-1]:.3g}", markersize=3.5)
        if any(value > 0 for key in lines for value in history.get(key, [])):  # a cosine schedule may end at zero
            axes.set_yscale(scale)
        axes.set_xlim(0.5, max(len(history.get(key, [])) for key in lines) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        dress(axes, title, "Epoch", title)
        axes.legend(title="last epoch", fontsize=8, title_fontsize=8)
    return figure


def roc(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Figure:
    """Draw the share of Fake that is found against the share of Real that is called Fake, over all thresholds.

    Args:
        labels: (N,) integers, 0 for Real and 1 for Fake.
        scores: (N,) floats, P(fake), 0 to 1.
        threshold: The score from which an image is called Fake, 0 to 1; marked on the curve.

    Returns:
        The ROC curve with AUC and equal error rate in the legend, or a note where a class is missing.
    """
    if not metrics.has_both(labels):
        return note("ROC", "needs Real and Fake images")
    values = metrics.compute(labels, scores, threshold)
    accused, found, _ = roc_curve(labels, scores)
    figure, axes = chart("ROC", "False positive rate (Real called Fake)", "True positive rate (Fake found)")
    axes.plot(accused, found, color=CURVE, linewidth=2, label=f"AUC {values['auc']:.3f}, EER {values['eer']:.3f}")
    axes.plot([0, 1], [0, 1], ":", color=PALE, label="Chance")
    _mark(axes, 1 - values["accuracy_real"], values["recall"], f"Threshold {threshold:.3f}")
    axes.legend(loc="lower right")
    return figure


def precision_recall(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Figure:
    """Draw the precision of the verdict Fake against the share of Fake that is found, over all thresholds.

    Args:
        labels: (N,) integers, 0 for Real and 1 for Fake.
        scores: (N,) floats, P(fake), 0 to 1.
        threshold: The score from which an image is called Fake, 0 to 1; marked on the curve.

    Returns:
        The curve with average precision in the legend, or a note where a class is missing.
    """
    if not metrics.has_both(labels):
        return note("Precision and recall", "needs Real and Fake images")
    values = metrics.compute(labels, scores, threshold)
    precision, recall, _ = precision_recall_curve(labels, scores)
    figure, axes = chart("Precision and recall", "Recall (Fake found)", "Precision (truly Fake)")
    label = f"AP {values['average_precision']:.3f}"
    axes.plot(recall, precision, color=CURVE, linewidth=2, drawstyle="steps-post", label=label)  # AP is the steps' area
    axes.axhline(np.mean(labels), linestyle=":", color=PALE, label="Chance")
    _mark(axes, values["recall"], values["precision"], f"Threshold {threshold:.3f}, F1 {values['f1']:.3f}")
    axes.legend(loc="lower left")
    return figure


def confusion(labels: np.ndarray, scores: np.ndarray, threshold: float, class_names: list[str]) -> Figure:
    """Draw what the images of each class were called.

    Args:
        labels: (N,) integers, 0 for Real and 1 for Fake.
        scores: (N,) floats, P(fake), 0 to 1.
        threshold: The score from which an image is called Fake, 0 to 1.
        class_names: Names of class 0 and of class 1.

    Returns:
        The 2 x 2 confusion matrix: a row for each true class, with counts and shares of the row.
    """
    labels, called = np.asarray(labels), np.asarray(scores, np.float64) >= threshold
    figure, axes = chart(f"Confusion at threshold {threshold:.3f}", "Called", "True class")
    counts = np.array([[np.sum((labels == row) & (called == column)) for column in (0, 1)] for row in (0, 1)])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1.2, edgecolors="white", linewidth=4)
    for (row, column), share in np.ndenumerate(shares):
        ink = "white" if share > 0.6 else INK
        percent = f"{share:.1%}" if counts[row].any() else "no images"
        axes.text(column + 0.5, row + 0.48, f"{counts[row, column]:,}", ha="center", color=ink, fontsize=20)
        axes.text(column + 0.5, row + 0.52, percent, ha="center", va="top", color=ink, fontsize=11)
    axes.set(xlim=(0, 2), ylim=(2, 0))
    axes.set_xticks((0.5, 1.5), class_names)
    axes.set_yticks((0.5, 1.5), class_names, rotation=90, va="center")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.grid(False)
    return figure


def histogram(labels: np.ndarray, scores: np.ndarray, threshold: float, class_names: list[str]) -> Figure:
    """Draw how the scores of each class are spread.

    Args:
        labels: (N,) integers, 0 for Real and 1 for Fake.
        scores: (N,) floats, P(fake), 0 to 1.
        threshold: The score from which an image is called Fake, 0 to 1; drawn as a line.
        class_names: Names of class 0 and of class 1.

    Returns:
        Two histograms in percent of each class, so that a rare class is as tall as a frequent one.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    figure, axes = chart("Scores", "P(fake)", "Share of the class (%)")
    axes.set_ylim(auto=True)
    for label, color in ((0, REAL), (1, FAKE)):
        chosen = scores[labels == label]
        if len(chosen):
            heights = 100 * np.histogram(chosen, BINS)[0] / len(chosen)
            right = np.count_nonzero((chosen >= threshold) == label)
            name = f"{class_names[label]}: {right:,} of {len(chosen):,} right ({right / len(chosen):.1%})"
            axes.stairs(heights, BINS, fill=True, color=color, alpha=0.45, label=name)
            axes.stairs(heights, BINS, color=color)
    axes.axvline(threshold, color=INK, linestyle="--", label=f"Threshold {threshold:.3f}")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, columnspacing=1.2)
    return figure


def sheet(images: np.ndarray, captions: list[str], title: str, columns: int = 8) -> Figure:
    """Lay pictures out in a grid.

    Args:
        images: (N, H, W, 3) uint8, RGB; N may be 0.
        captions: N texts, one under each picture; long ones are broken into lines.
        title: What the pictures are.
        columns: Pictures in a row.

    Returns:
        A figure on which pictures up to 256 pixels wide are drawn pixel by pixel, small ones enlarged a whole number
        of times.
    """
    if not len(images):
        return note(title, "none to show")
    factor = math.ceil(TILE[0] / images.shape[2])
    tiles = images.repeat(factor, axis=1).repeat(factor, axis=2)
    height, width = tiles.shape[1:3]
    scale = max(1, width / TILE[1])  # pixels of the canvas in one of the figure
    texts = [_wrap(caption, width / scale / LETTER) for caption in captions]
    lines = max(text.count("\n") + 1 for text in texts)
    down, right = height + round(scale * (10 + LINE * lines)), width + round(scale * 8)
    columns = min(columns, len(tiles))
    canvas = np.full((math.ceil(len(tiles) / columns) * down, columns * right, 3), 255, np.uint8)
    figure, axes = _page(title, canvas.shape[1] / scale, canvas.shape[0] / scale)
    for place, (tile, text) in enumerate(zip(tiles, texts, strict=True)):
        top, left = place // columns * down, place % columns * right
        canvas[top : top + height, left : left + width] = tile
        axes.text(left + width / 2, top + height + 3 * scale, text, ha="center", va="top", fontsize=7, parse_math=False)
    axes.imshow(canvas, interpolation="auto" if scale > 1 else "none")
    return figure


def blank(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches whose charts leave a margin."""
    return Figure(figsize=(width, height), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))


def chart(title: str, xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """Return a figure with one chart whose axes run from 0 to 1."""
    figure = blank(5.8, 4.8)
    axes = figure.add_subplot(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    dress(axes, title, xlabel, ylabel)
    return figure, axes


def dress(axes: Axes, title: str, xlabel: str, ylabel: str) -> None:
    axes.set_title(title, fontweight="bold", color=INK)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _mark(axes: Axes, x: float, y: float, label: str) -> None:
    axes.plot([x], [y], "o", color=FAKE, markersize=9, markeredgecolor="white", clip_on=False, zorder=5, label=label)


def _page(title: str, width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure with a title and, below it, bare axes of exactly `width` x `height` pixels."""
    margin, full_width = 12, max(width, 420) + 24
    heading = _wrap(title, full_width / 11)
    full_height = height + 2 * margin + 24 * (heading.count("\n") + 1)
    figure = Figure(figsize=(full_width / DPI, full_height / DPI), dpi=DPI)
    box = margin / full_width, margin / full_height, width / full_width, height / full_height
    axes = figure.add_axes(box)
    axes.set_axis_off()
    top = 1 - margin / full_height
    figure.text(box[0], top, heading, fontsize=12, fontweight="bold", color=INK, va="top", parse_math=False)
    return figure, axes


def note(title: str, text: str) -> Figure:
    """Return a page that says why there is no picture."""
    figure, axes = _page(title, 420, 120)
    axes.text(0.5, 0.5, text, ha="center", va="center", color=PALE, fontsize=12, transform=axes.transAxes)
    return figure


def _wrap(text: str, letters: float) -> str:
    return "\n".join(part for line in text.splitlines() for part in textwrap.wrap(line, int(letters)))
