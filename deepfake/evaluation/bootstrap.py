"""How sure the numbers are, and whether one detector is better than another or only luckier: the bootstrap.

Images are drawn anew with replacement, many times, and the interval holds the middle 95 % of what is measured on the
draws (the percentile interval of Efron & Tibshirani 1993, chapter 13). Frames of one video are no independent images,
so whole groups are drawn (the cluster bootstrap, Field & Welsh 2007).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 10  # a bootstrap over fewer groups or images says little (Cameron, Gelbach & Miller 2008)
MEASURED = ("auc", "average_precision", "eer", "balanced_accuracy", "accuracy_real", "accuracy_fake", "accuracy")


@dataclass(frozen=True)
class Difference:
    """By how much the AUC of detector B exceeds that of A on the same images.

    Attributes:
        value: B minus A, on the images themselves.
        low: Lower end of its 95 % interval.
        high: Upper end.
        probability: Share of the draws in which B is higher, 0 to 1; a tie counts half.
    """

    value: float
    low: float
    high: float
    probability: float


def paired_bootstrap(
    labels: np.ndarray,
    scores_a: np.ndarray,
    scores_b: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    rounds: int = 2000,
    seed: int = 0,
) -> Difference:
    """Measure by how much the AUC of detector B exceeds that of A on the same images, and how sure that is.

    Each draw is the same for both detectors. Draws that lack a class are skipped.

    Args:
        labels: (N,) integers, 0 for Real and 1 for Fake; both must be there.
        scores_a: (N,) floats, P(fake) by detector A.
        scores_b: (N,) floats, P(fake) by detector B.
        groups: N names of what is drawn as a whole; N different ones to draw single images.
        rounds: Number of draws.
        seed: Of the draws.

    Returns:
        The difference, B minus A. With few groups it is surer than it should be; see `FEWEST`.

    Raises:
        ValueError: If a class is missing.
    """
    labels = np.asarray(labels)
    if not 0 < np.count_nonzero(labels) < len(labels):
        raise ValueError("an AUC needs both classes")
    auc_a, auc_b = weighted_auc(labels, scores_a), weighted_auc(labels, scores_b)
    drawn = np.array([auc_b(times) - auc_a(times) for times in _draws(groups, rounds, seed)])
    low, high = _middle(drawn)
    drawn = drawn[~np.isnan(drawn)]
    once = np.ones(len(labels), int)
    return Difference(auc_b(once) - auc_a(once), low, high, float(np.mean((np.sign(drawn) + 1) / 2)))


def intervals(
    labels: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    groups: Sequence[str] | np.ndarray,
    rounds: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Measure how sure the metrics of one detector on one set of images are.

    A metric that is the same in every draw, as where nothing is called wrong, has an interval without width: it does
    not say that further images would be called right.

    Args:
        labels: (N,) integers, 0 for Real and 1 for Fake.
        scores: (N,) floats, P(fake), 0 to 1.
        threshold: The score from which an image is called Fake, 0 to 1.
        groups: N names of what is drawn as a whole; N different ones to draw single images.
        rounds: Number of draws.
        seed: Of the draws.

    Returns:
        The lower and the upper end of the 95 % interval of each of `MEASURED`, 0 to 1. Both are nan where the metric is
        undefined because a class is missing, and everywhere where a class comes from fewer than `FEWEST` groups.
    """
    labels, names = np.asarray(labels), np.asarray(groups)
    if min((len(set(names[labels == label])) for label in set(labels.tolist())), default=0) < FEWEST:
        return dict.fromkeys(MEASURED, (np.nan, np.nan))
    measure = weighted_metrics(labels, scores, threshold)
    drawn = [measure(times) for times in _draws(groups, rounds, seed)]
    return {name: _middle(np.array([values[name] for values in drawn])) for name in MEASURED}


def weighted_auc(labels: np.ndarray, scores: np.ndarray) -> Callable[[np.ndarray], float]:
    """Prepare the AUC of many samples out of the same images: the scores are sorted once, each sample takes O(N).

    Args:
        labels: (N,) integers, 0 for Real and 1 for Fake.
        scores: (N,) floats, P(fake).

    Returns:
        A function of (N,) integers, how often each image is in the sample, to the AUC: the chance that a Fake scores
        higher than a Real, ties counted half (Hanley & McNeil 1982); nan if the sample lacks a class.
    """
    _, count = _curve(labels, scores)
    return lambda times: _auc(*count(times))


def weighted_metrics(
    labels: np.ndarray, scores: np.ndarray, threshold: float
) -> Callable[[np.ndarray], dict[str, float]]:
    """Prepare `MEASURED` of many samples out of the same images: the scores are sorted once, each sample takes O(N).

    Args:
        labels: (N,) integers, 0 for Real and 1 for Fake.
        scores: (N,) floats, P(fake).
        threshold: The score from which an image is called Fake.

    Returns:
        A function of (N,) integers, how often each image is in the sample, to the metrics as of `metrics.compute` on
        that sample, 0 to 1 or nan.
    """
    distinct, count = _curve(labels, scores)
    called = np.count_nonzero(distinct >= threshold)

    def measure(times: np.ndarray) -> dict[str, float]:
        accused, found = count(times)
        real, fake = int(accused[-1]), int(found[-1])
        right_real, right_fake = real - int(accused[called]), int(found[called])
        accuracy_real = right_real / real if real else np.nan
        accuracy_fake = right_fake / fake if fake else np.nan
        return {
            "auc": _auc(accused, found),
            "average_precision": _average_precision(accused, found),
            "eer": _equal_error_rate(accused, found),
            "balanced_accuracy": (accuracy_real + accuracy_fake) / 2,
            "accuracy_real": accuracy_real,
            "accuracy_fake": accuracy_fake,
            "accuracy": (right_real + right_fake) / (real + fake),
        }

    return measure


def _draws(groups: Sequence[str] | np.ndarray, rounds: int, seed: int) -> Iterator[np.ndarray]:
    """Draw as many groups as there are, with replacement, and yield how often each image is there, (N,) integers."""
    _, group_of = np.unique(groups, return_inverse=True)
    count = group_of.max() + 1
    random = np.random.default_rng(seed)
    for _ in range(rounds):
        yield np.bincount(random.integers(count, size=count), minlength=count)[group_of]


def _middle(drawn: np.ndarray) -> tuple[float, float]:
    defined = drawn[~np.isnan(drawn)]
    low, high = np.quantile(defined, [0.025, 0.975]) if len(defined) else (np.nan, np.nan)
    return float(low), float(high)


def _curve(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], tuple]]:
    """Prepare ROC curves.

    Returns:
        The K different scores, falling; and a function of (N,) integers, how often each image is in a sample, to how
        many Reals, and how many Fakes, score at or above each of them: two arrays of K + 1 integers, led by 0.
    """
    scores = np.asarray(scores, np.float64)
    falling = np.argsort(-scores, kind="stable")
    is_fake = np.asarray(labels)[falling]
    last = np.flatnonzero(np.diff(scores[falling], append=-np.inf))  # of the images of equal score
    edges = np.concatenate([[0], last + 1])

    def count(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sums = np.zeros((2, len(scores) + 1), np.int64)
        times = times[falling]
        np.cumsum(times, out=sums[0, 1:])
        np.cumsum(times * is_fake, out=sums[1, 1:])
        images, found = sums[:, edges]
        return images - found, found

    return scores[falling][last], count


def _auc(accused: np.ndarray, found: np.ndarray) -> float:
    pairs = int(accused[-1]) * int(found[-1])
    return int(np.diff(accused) @ (found[1:] + found[:-1])) / (2 * pairs) if pairs else np.nan


def _average_precision(accused: np.ndarray, found: np.ndarray) -> float:
    if not accused[-1] or not found[-1]:
        return np.nan
    precision = found[1:] / np.maximum(accused[1:] + found[1:], 1)
    return float(np.diff(found) @ precision) / int(found[-1])


def _equal_error_rate(accused: np.ndarray, found: np.ndarray) -> float:
    if not accused[-1] or not found[-1]:
        return np.nan
    accused, found = accused / accused[-1], found / found[-1]
    return float(np.interp(0, accused - (1 - found), accused))
