"""How far P(fake) can be believed: temperature, calibration error, and the band in which the verdict is Unsure."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import brentq
from scipy.special import bdtrc, expit, logit

from deepfake.evaluation import plots
from deepfake.evaluation.metrics import CLIP, has_both

TEMPERATURES = 0.05, 20.0
BINS = 15  # as of Guo et al. 2017

# A cut was chosen because it is right 90 % of the time on Validation, so on new images it mostly is not. Therefore
# Validation must show it, at 5 % risk of chance. Simulated with classes of equal size and normal scores, 400 times each
# (60 with 2000 images without a margin): how often each verdict that is then given truly is right 90 % of the time, and
# the share of images that get one. The last column is that share if the scores' distributions were known.
#
#     AUC   images   margin: kept, share   none: kept, share   known
#     0.95     100           97 %   30 %         35 %   92 %    94 %
#     0.95     300           95 %   74 %         31 %   93 %
#     0.95    2000           93 %   88 %         42 %   93 %
#     0.75     300           98 %  0.2 %          9 %   16 %     8 %
#     0.75    2000           90 %  1.4 %         10 %   11 %
#     0.60    2000          100 %    0 %          3 %  0.6 %     0 %
#
# At 10 % risk it is kept in 80 to 92 % of the rows above, for 1 to 24 points more of the images.
RISK = 0.05


@dataclass(frozen=True)
class Band:
    """Between which scores a detector does not give a verdict.

    Attributes:
        low: P(fake) below which the verdict is Real, at most the threshold; 0 where that is never said.
        high: P(fake) above which the verdict is Fake, at least the threshold; 1 where that is never said.
        certainty: Share of each verdict that was asked to be right, 0.5 to 1.
        right: Share of the verdicts given that are right on Validation, nan if there are none.
        coverage: Share of the Validation images that get a verdict, 0 to 1.
        supported: Whether any verdict can be given.
        reason: Why one or both verdicts cannot be given; empty if both can.
    """

    low: float
    high: float
    certainty: float
    right: float
    coverage: float
    supported: bool
    reason: str


class Held(NamedTuple):
    """What became of a band on other images: shares from 0 to 1, nan where there is nothing to take a share of.

    Attributes:
        right: Of the verdicts given, those that are right.
        coverage: Of the images, those that get a verdict.
        right_real: Of the verdicts Real, those that are right.
        right_fake: Of the verdicts Fake, those that are right.
    """

    right: float
    coverage: float
    right_real: float
    right_fake: float


def fit_temperature(labels: np.ndarray, scores: np.ndarray) -> float:
    """Find by what to divide the log-odds of scores so that they are the probabilities that they look like.

    Temperature scaling (Guo et al. 2017, arXiv:1706.04599) minimises the binary cross-entropy. The labels are taken for
    a little less than certain, as Platt (1999) does, so that scores that tell apart all of the N images are not taken
    to be right forever: at their extremes they become about 1 / N and 1 - 1 / N. On 600 images or more it changes
    little otherwise.

    Args:
        labels: (N,) integers, 0 for Real and 1 for Fake; of Validation.
        scores: (N,) floats, P(fake), 0 to 1.

    Returns:
        The temperature for `models.scoring.temper`, 0.05 to 20; 1 where a class is missing or all scores are the same.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    if not has_both(labels) or np.ptp(scores) == 0:
        return 1.0
    fakes = np.count_nonzero(labels)
    targets = np.where(labels == 1, (fakes + 1) / (fakes + 2), 1 / (len(labels) - fakes + 2))
    odds = logit(np.clip(scores, CLIP, 1 - CLIP))  # float32 ends at 1 - 6e-8, and then comes 1

    def slope(inverse: float) -> float:
        """Return the derivative of the cross-entropy, which is convex in 1 / temperature."""
        return float(odds @ (expit(inverse * odds) - targets))

    coldest, hottest = (1 / temperature for temperature in TEMPERATURES)
    if slope(hottest) >= 0:
        return TEMPERATURES[1]
    if slope(coldest) <= 0:
        return TEMPERATURES[0]
    return 1 / brentq(slope, hottest, coldest)


def expected_calibration_error(labels: np.ndarray, scores: np.ndarray, bins: int = BINS) -> float:
    """Measure by how much P(fake) and the share of Fake differ, on average over the images.

    The images are put into bins of P(fake) of equal width. In each, the mean P(fake) is compared with the share of
    Fake, and the absolute differences are averaged, weighted by the bins' images (Naeini et al. 2015). It is not the
    error of the top class's confidence, which Guo et al. 2017 give the same name: that one cannot see that Real is
    overrated as much as Fake is underrated. Chance alone makes it about 0.05 for 600 images that are calibrated
    perfectly, 0.03 for 2000.

    Args:
        labels: (N,) integers, 0 for Real and 1 for Fake.
        scores: (N,) floats, P(fake), 0 to 1.
        bins: Number of bins; a score on the border of two belongs to the upper one.

    Returns:
        The error, 0 to 1; nan if there are no images.
    """
    if not len(labels):
        return np.nan
    means, shares, counts = _binned(labels, scores, bins)
    return float(np.abs(means - shares) @ counts / counts.sum())


def reliability(labels: np.ndarray, before: np.ndarray, after: np.ndarray) -> Figure:
    """Draw the share of Fake over P(fake), before and after a temperature.

    Args:
        labels: (N,) integers, 0 for Real and 1 for Fake.
        before: (N,) floats, P(fake), 0 to 1, as the model gives it.
        after: The same, tempered.

    Returns:
        The reliability diagram (DeGroot & Fienberg 1983) in the bins of `expected_calibration_error`, whose value is in
        the legend. A point is the larger, the more images its bin holds; below it their number. A note where there are
        no images.
    """
    if not len(labels):
        return plots.note("Reliability", "needs images")
    figure = plots.blank(5.8, 6)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    plots.dress(axes, f"Reliability on {len(labels):,} images", "", "Share that is Fake")
    plots.dress(below, "", "P(fake)", "Images")
    axes.plot([0, 1], [0, 1], ":", color=plots.PALE, label="As it should be")
    edges = np.linspace(0, 1, BINS + 1)
    for name, scores, color in (("Before", before, plots.TRAIN), ("After", after, plots.REAL)):
        means, shares, counts = _binned(labels, scores, BINS)
        error = expected_calibration_error(labels, scores)
        axes.plot(means, shares, color=color, linewidth=1.2, label=f"{name}: ECE {error:.3f}")
        axes.scatter(means, shares, 8 + 72 * counts / counts.max(), color=color, zorder=3)
        below.stairs(np.histogram(scores, edges)[0], edges, color=color, linewidth=1.5)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="upper left", fontsize=9)
    return figure


def choose_band(labels: np.ndarray, scores: np.ndarray, threshold: float, certainty: float = 0.9) -> Band:
    """Choose on Validation the smallest band around the threshold outside of which verdicts can be relied on.

    Each verdict for itself is to be right `certainty` of the time, which is what one who reads it takes it for: if only
    both together had to be, a detector that is good at Real could say Fake at random. That must not be chance: if a
    verdict were right less often, at most one Validation in twenty would show as many right ones. It is the one-sided
    bound of Clopper & Pearson (1934).

    How often a verdict is right depends on how many images are Fake: it holds for images of which as many are as of
    Validation. Where fewer are, as among the pictures that people meet, Fake is right less often and Real more. The
    bound takes the images for independent; where they are frames of a few videos, it promises too much.

    Args:
        labels: (N,) integers, 0 for Real and 1 for Fake; of Validation.
        scores: (N,) floats, P(fake), 0 to 1.
        threshold: The score from which an image is called Fake where there is no band, 0 to 1.
        certainty: Share of each verdict that is to be right, 0.5 to 1, both excluded.

    Returns:
        The band. An empty one ends twice at the threshold. Where no part of the images shows a verdict to be reliable,
        the band reaches to 0 or to 1 and that verdict is not given; with neither, everything is Unsure.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    high = _cut(labels == 1, scores, threshold, certainty)
    low = _cut(labels == 0, -scores, -threshold, certainty)
    unproven = [name for name, cut in (("Real", low), ("Fake", high)) if cut is None]
    ends = 0.0 if low is None else -low, 1.0 if high is None else high
    held = _check(labels, scores, *ends)
    reason = _reason(len(labels), unproven, certainty) if unproven else ""
    return Band(*ends, certainty, held.right, held.coverage, len(unproven) < 2, reason)


def check_band(labels: np.ndarray, scores: np.ndarray, band: Band) -> Held:
    """Say whether a band keeps its promise on other images than it was chosen on.

    Args:
        labels: (N,) integers, 0 for Real and 1 for Fake; of Test.
        scores: (N,) floats, P(fake), 0 to 1, of the same detector and temperature.
        band: Of `choose_band`.

    Returns:
        How often its verdicts are right, and how many images get one.
    """
    return _check(np.asarray(labels), np.asarray(scores, np.float64), band.low, band.high)


def _check(labels: np.ndarray, scores: np.ndarray, low: float, high: float) -> Held:
    real, fake = scores < low, scores > high
    given, right = real | fake, np.where(fake, labels == 1, labels == 0)
    return Held(*map(_share, (right[given], given, right[real], right[fake])))


def _share(what: np.ndarray) -> float:
    return float(np.mean(what)) if len(what) else np.nan


def _cut(right: np.ndarray, scores: np.ndarray, threshold: float, certainty: float) -> float | None:
    """Find the lowest score, not below the threshold, above which enough are shown to be right; None if there is none.

    Args:
        right: (N,) bools, of which images the verdict would be right.
        scores: (N,) floats, the higher the more the verdict is called for.
        threshold: Of the scores.
        certainty: Share that is to be right.

    Returns:
        Midway between two scores, or the threshold.
    """
    beyond = np.flatnonzero(scores > threshold)
    beyond = beyond[np.argsort(-scores[beyond])]
    scores, right = scores[beyond], right[beyond]
    # the chance that so many or more of so many are right, were each only as often as asked
    chance = bdtrc(np.cumsum(right) - 1.0, np.arange(1, len(right) + 1), certainty)
    shown = np.flatnonzero((chance <= RISK) & (np.diff(scores, append=-np.inf) < 0))
    if not len(shown):
        return None
    last = shown[-1]
    return float(threshold if last == len(scores) - 1 else (scores[last] + scores[last + 1]) / 2)


def _reason(count: int, unproven: list[str], certainty: float) -> str:
    least = math.ceil(math.log(RISK) / math.log(certainty))
    verdict = f"the verdict {unproven[0]}" if len(unproven) == 1 else "a verdict"
    return (
        f"no part of the {count:,} Validation images shows {verdict} to be right {certainty:.0%} of the time "
        f"(it takes at least {least}, all right)"
    )


def _binned(labels: np.ndarray, scores: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean score, the share of Fake and the number of images of each bin that has any."""
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], scores, "right")
    counts = np.bincount(place, minlength=bins)
    filled = counts > 0
    sums = [np.bincount(place, values, bins)[filled] for values in (scores, labels)]
    counts = counts[filled]
    return sums[0] / counts, sums[1] / counts, counts
