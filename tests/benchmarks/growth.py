"""How the time of indexing, of building the cache and of an epoch grows with the number of images."""

import math
import os
import shutil
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from tests.benchmarks import ours
from tests.benchmarks.duel import Contestant, compete, once
from tests.benchmarks.pictures import write_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = (1_000, 10_000, 100_000)
DISTINCT = 300  # different files; the others are links to them
# Okabe & Ito 2008: colours that colour-blind people can tell apart.
CURVES = {"indexing": "#0072B2", "building the cache": "#D55E00", "an epoch": "#009E73"}
INK, PALE = "#333333", "#8C8C8C"


def measure(scratch: Path, logs: Path, largest_epoch: int) -> dict[str, dict[int, float]]:
    """Measure on folders of growing size.

    An epoch is timed whole: the second one, but where that would take minutes the first, in which the few seconds that
    the model takes to be compiled then hardly count.

    Args:
        scratch: Folder for the images and the caches; some 5 GB at a time.
        logs: File to which contestants print.
        largest_epoch: Number of images up to which an epoch is trained.

    Returns:
        Seconds by the names of `CURVES` and number of images.
    """
    seconds: dict[str, dict[int, float]] = {curve: {} for curve in CURVES}
    usual_home = os.environ["DEEPFAKE_HOME"]
    for images in SIZES:
        place = scratch / f"growth_{images}"
        os.environ["DEEPFAKE_HOME"] = str(place / "home")
        root = write_folder(place / "images", images, distinct=DISTINCT)
        [indexing] = compete([Contestant("indexing", ours.indexing, (root,))], rounds=3, logs=logs)
        seconds["indexing"][images] = median(indexing.results)
        seconds["building the cache"][images] = once(ours.first_load, root, logs=logs) - median(indexing.results)
        if images <= largest_epoch:
            overrides = ("augmentation=standard", f"trainer.epochs={2 if images < SIZES[-1] else 1}")
            seconds["an epoch"][images] = images / once(ours.whole_epochs, root, overrides, logs=logs)
        shutil.rmtree(place)
    os.environ["DEEPFAKE_HOME"] = usual_home
    return seconds


def exponent(seconds: dict[int, float]) -> float:
    """Fit the power of the number of images to which the seconds grow, by least squares of the logarithms."""
    return float(np.polyfit(np.log(list(seconds)), np.log(list(seconds.values())), 1)[0])


def draw(seconds: dict[str, dict[int, float]]) -> "Figure":
    """Plot what was measured, with a line of slope 1 (twice the images, twice the time) through each first point.

    Args:
        seconds: As `measure` returns them.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(7.2, 4.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xscale="log", yscale="log", xlim=(SIZES[0] * 0.8, SIZES[-1] * 1.25))
    for name, color in CURVES.items():
        points = seconds[name]
        images, times = list(points), list(points.values())
        ideal = [times[0] * size / images[0] for size in SIZES]
        axes.plot(SIZES, ideal, "--", color=PALE, linewidth=1, zorder=1)
        label = f"{name}: images to the power of {exponent(points):.2f}"
        axes.plot(images, times, "o-", color=color, linewidth=2, markersize=6, label=label, zorder=2)
        for size, time in points.items():
            axes.annotate(
                f"{time:.2g} s" if time < 10 else f"{time:.0f} s",
                (size, time),
                textcoords="offset points",
                xytext=(0, -16 if name == "building the cache" else 8),
                ha="center",
                fontsize=8,
                color=color,
            )
    axes.plot([], [], "--", color=PALE, linewidth=1, label="slope 1: twice the images, twice the time")
    axes.set_xlabel("images", color=INK)
    axes.set_ylabel("seconds", color=INK)
    axes.set_title("Time against the number of images", loc="left", color=INK, fontweight="bold")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(top=10 ** (math.log10(axes.get_ylim()[1]) + 0.15))
    axes.grid(True, which="major", color=PALE, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    return figure
