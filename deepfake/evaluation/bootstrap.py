"""Whether one detector is better than another, or only luckier on the images at hand: the paired bootstrap."""

from collections.abc import Callable, Sequence

import numpy as np


def paired_bootstrap(
    labels: np.ndarray,
    scores_a: np.ndarray,
    scores_b: np.ndarray,
    groups: Sequence[str],
    rounds: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Measure by how much the AUC of detector B exceeds that of A on the same images, and how sure that is.

    Images are drawn anew with replacement, the same for both detectors, and the interval holds the middle 95 % of the
    differences (the percentile interval of Efron & Tibshirani 1993, chapter 13). Frames of one video are no independent
    images, so whole groups are drawn (the cluster bootstrap, Field & Welsh 2007). Draws that lack a class are skipped.

    Args:
        labels: (N,) integers, 0 for Real and 1 for Fake; both must be there.
        scores_a: (N,) floats, P(fake) by detector A.
        scores_b: (N,) floats, P(fake) by detector B.
        groups: N names of what is drawn as a whole; N different ones to draw single images.
        rounds: Number of draws.
        seed: Of the draws.

    Returns:
        The difference on the images themselves, B minus A, and the lower and the upper end of its interval.

    Raises:
        ValueError: If a class is missing.
    """
    labels = np.asarray(labels)
    if not 0 < np.count_nonzero(labels) < len(labels):
        raise ValueError("an AUC needs both classes")
    auc_a, auc_b = weighted_auc(labels, scores_a), weighted_auc(labels, scores_b)
    _, group_of = np.unique(groups, return_inverse=True)
    count = group_of.max() + 1
    random = np.random.default_rng(seed)
    differences = np.empty(rounds)
    for i in range(rounds):
        times = np.bincount(random.integers(count, size=count), minlength=count)[group_of]
        differences[i] = auc_b(times) - auc_a(times)
    low, high = np.nanquantile(differences, [0.025, 0.975])
    once = np.ones(len(labels), int)
    return auc_b(once) - auc_a(once), float(low), float(high)


def weighted_auc(labels: np.ndarray, scores: np.ndarray) -> Callable[[np.ndarray], float]:
    """Prepare the AUC of many samples out of the same images: the scores are sorted once, each sample takes O(N).

    Args:
        labels: (N,) integers, 0 for Real and 1 for Fake.
        scores: (N,) floats, P(fake).

    Returns:
        A function of (N,) integers, how often each image is in the sample, to the AUC: the chance that a Fake scores
        higher than a Real, ties counted half (Hanley & McNeil 1982); nan if the sample lacks a class.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    real, fake = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)
    real = real[np.argsort(scores[real])]
    fake = fake[np.argsort(scores[fake])]  # so that `below` and `up_to` rise, and reading at them is fast
    below = np.searchsorted(scores[real], scores[fake], "left")
    up_to = np.searchsorted(scores[real], scores[fake], "right")

    def auc(times: np.ndarray) -> float:
        reals = np.concatenate([[0], np.cumsum(times[real])])
        fakes = times[fake]
        pairs = int(reals[-1]) * int(fakes.sum())
        return float(fakes @ (reals[below] + reals[up_to])) / (2 * pairs) if pairs else np.nan

    return auc
