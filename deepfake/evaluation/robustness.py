"""Whether a detector still tells Real from Fake once images are worn: the same metrics under known degradations.

The degradations are those of training's augmentation, one at a time, on the square that the model is given.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepfake import threads
from deepfake.augmentation import degradation, geometric, photometric
from deepfake.data import tables
from deepfake.data.mapped import read_rows
from deepfake.evaluation import metrics, plots
from deepfake.evaluation.explain import spread
from deepfake.models.scoring import BATCH


@dataclass(frozen=True)
class Kind:
    """A kind of degradation.

    Attributes:
        title: Its name on a plot.
        unit: What its strengths are.
        strengths: From what one hardly sees to what one sees at once, mostly within what `augmentation=heavy` does.
        apply: (size, size, 3) uint8 RGB, a strength and a source of randomness to the degraded image, likewise.
    """

    title: str
    unit: str
    strengths: tuple[float, ...]
    apply: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


KINDS = {
    "jpeg": Kind("JPEG", "Quality", (90, 75, 60, 45, 30), lambda image, quality, _: degradation.jpeg(image, quality)),
    "blur": Kind("Blur", "Sigma (pixels)", (0.5, 1, 1.5, 2, 3), lambda image, sigma, _: degradation.blur(image, sigma)),
    "downscale": Kind(
        "Downscaling",
        "Side of the small image (share)",
        (0.8, 0.65, 0.5, 0.35, 0.25),
        lambda image, factor, _: degradation.downscale(image, factor),
    ),
    "noise": Kind("Noise", "Sigma (grey levels)", (2, 4, 8, 12, 16), degradation.noise),
    "brightness": Kind(
        "Brightness",
        "Darker or brighter by (share of full scale)",
        (0.05, 0.1, 0.15, 0.2, 0.3),
        lambda image, share, rng: _brighten(image, share * rng.choice((-1, 1))),
    ),
    "crop": Kind(
        "Cropping", "Side that is kept (share)", (0.95, 0.9, 0.8, 0.7, 0.6), lambda image, kept, _: _crop(image, kept)
    ),
}


@dataclass(frozen=True)
class Degraded:
    """The metrics on images of one degradation, a key of `KINDS`, at one of its strengths."""

    kind: str
    strength: float
    metrics: dict[str, float]


@dataclass(frozen=True)
class Robustness:
    """How a detector stands degradations.

    Attributes:
        clean: Metrics on the images as they are.
        degraded: Metrics on the degraded ones, as `KINDS` lists them.
        scalar: Mean AUC of `degraded`, relative to the AUC of `clean`: 1 where nothing is lost. A detector that tells
            nothing apart has nothing to lose, so this says little where the clean AUC is near 0.5.
    """

    clean: dict[str, float]
    degraded: list[Degraded]
    scalar: float


def measure(
    score: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
    threshold: float,
    *,
    limit: int | None,
    seed: int,
) -> Robustness:
    """Measure a detector on images as they are, and under each degradation.

    The next images are degraded while the detector scores; only a few batches are in memory at a time.

    Args:
        score: Images (N, size, size, 3), uint8, to P(fake), (N,) floats.
        images: (N, size, size, 3), uint8 RGB, which may be mapped from the disk.
        labels: (N,) integers, 0 for Real and 1 for Fake.
        threshold: The score from which an image is called Fake, 0 to 1.
        limit: At most this many images of each class, evenly spread and the same for every degradation; None for all.
        seed: Of the noise, and of which images become darker and which brighter; an image's own, whatever the limit.

    Returns:
        The metrics.

    Raises:
        ModelError: If a score is not finite.
    """
    import cv2

    cv2.setNumThreads(1)  # the batches themselves are degraded in parallel
    labels = np.asarray(labels)
    chosen = np.sort(np.concatenate([spread(np.flatnonzero(labels == label), limit) for label in (0, 1)]))
    batches = [chosen[start : start + BATCH] for start in range(0, len(chosen), BATCH)]
    versions = [(kind, strength) for kind in KINDS for strength in KINDS[kind].strengths]

    def make(job: tuple[tuple[str, float] | None, np.ndarray]) -> np.ndarray:
        version, rows = job
        batch = read_rows(images, rows)
        return batch if version is None else degrade(batch, *version, [(seed, int(row)) for row in rows])

    with ThreadPoolExecutor(threads.count()) as pool:
        scores = [score(batch) for batch in _ahead(pool, make, product([None, *versions], batches))]
    by_version = np.concatenate(scores).reshape(1 + len(versions), len(chosen))
    clean, *worn = (metrics.compute(labels[chosen], row, threshold) for row in by_version)
    degraded = [Degraded(*version, values) for version, values in zip(versions, worn, strict=True)]
    return Robustness(clean, degraded, float(np.mean([one.metrics["auc"] for one in degraded]) / clean["auc"]))


def degrade(images: np.ndarray, kind: str, strength: float, seeds: Iterable[int | Sequence[int]]) -> np.ndarray:
    """Degrade images.

    Args:
        images: (N, size, size, 3), uint8 RGB.
        kind: A key of `KINDS`. `brightness` makes as many images darker as brighter, on average; `crop` cuts about the
            centre and enlarges to the size before.
        strength: In the unit of that kind.
        seeds: N seeds, each as `numpy.random.default_rng` takes it.

    Returns:
        The degraded images, (N, size, size, 3), uint8 RGB.
    """
    apply = KINDS[kind].apply
    randoms = (np.random.default_rng(seed) for seed in seeds)
    return np.stack([apply(image, strength, rng) for image, rng in zip(images, randoms, strict=True)])


def write_csv(path: Path, robustness: Robustness) -> None:
    """Write the metrics, a line for the images as they are, kind `clean`, and one for each degradation and strength.

    Args:
        path: Of the file.
        robustness: What was measured.
    """
    lines = [("clean", "", robustness.clean), *((one.kind, one.strength, one.metrics) for one in robustness.degraded)]
    rows = [
        [kind, strength, *("" if math.isnan(v) else f"{v:.6f}" for v in values.values())]
        for kind, strength, values in lines
    ]
    tables.write(path, ["kind", "strength", *robustness.clean], rows)


def plot(robustness: Robustness) -> Figure:
    """Draw the AUC against the strength of each degradation.

    Args:
        robustness: What was measured.

    Returns:
        A panel for each kind of degradation, from the images as they are to the strongest, or a note where a class is
        missing.
    """
    title, clean = "AUC on degraded images", robustness.clean["auc"]
    if math.isnan(clean):
        return plots.note(title, "needs Real and Fake images")
    figure = plots.blank(10.5, 6.4)
    figure.suptitle(f"{title}: on average {robustness.scalar:.1%} of the clean AUC", fontweight="bold", color=plots.INK)
    panels = figure.subplots(2, 3, sharey=True)
    for axes, kind in zip(panels.flat, KINDS, strict=True):
        _draw(axes, kind, clean, [one for one in robustness.degraded if one.kind == kind])
    lowest = min(one.metrics["auc"] for one in robustness.degraded)
    panels[0, 0].set_ylim(min(lowest, clean, 0.5) - 0.04, 1.02)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _ahead(pool: Executor, make: Callable, jobs: Iterable) -> Iterator[np.ndarray]:
    """Yield what `make` makes of each job, in order; a few are being made while one is used."""
    made: deque = deque()
    for job in jobs:
        made.append(pool.submit(make, job))
        if len(made) > threads.count():
            yield made.popleft().result()
    while made:
        yield made.popleft().result()


def _brighten(image: np.ndarray, share: float) -> np.ndarray:
    matrix = photometric.IDENTITY.copy()
    matrix[:, 3] = 255 * share
    return photometric.recolour(image, matrix)


def _crop(image: np.ndarray, kept: float) -> np.ndarray:
    middle = (np.array(image.shape[1::-1]) - 1) / 2
    zoom = np.eye(2) / kept
    return geometric.warp(image, np.column_stack([zoom, middle - zoom @ middle]), "edge")


def _draw(axes: Axes, kind: str, clean: float, degraded: list[Degraded]) -> None:
    place = axes.get_subplotspec()
    plots.dress(axes, KINDS[kind].title, KINDS[kind].unit, "AUC" if place and place.is_first_col() else "")
    places = range(1 + len(degraded))
    axes.axhline(0.5, linestyle=":", color=plots.PALE, label="Chance")
    axes.axhline(clean, linestyle="--", color=plots.INK, linewidth=1, label=f"Clean {clean:.3f}")
    values = [clean, *(one.metrics["auc"] for one in degraded)]
    axes.plot(places, values, "o-", color=plots.CURVE, linewidth=2, label="Degraded")
    axes.set_xticks(places, ["clean", *(f"{one.strength:g}" for one in degraded)])
