"""The numbers a detector is judged by, from labels (Fake = 1) and scores (P(fake)).

A score at or above the threshold is called Fake. A number that the images cannot give, such as the AUC of a set that
holds only one class, is nan: it is neither good nor bad, and an average over data sets can leave it out.
"""

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from deepfake.errors import ModelError

CLIP = 1e-7  # keeps the logarithm finite; the same epsilon as Keras


def compute(labels: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, float]:
    """Measure a detector on one set of images.

    Args:
        labels: (N,) integers, 0 for Real and 1 for Fake.
        scores: (N,) floats, P(fake), 0 to 1.
        threshold: The score from which an image is called Fake, 0 to 1.

    Returns:
        `loss` (binary cross-entropy in nats), and, all from 0 to 1, `accuracy`, `balanced_accuracy` (mean of the two
        classes' accuracies), `auc`, `average_precision`, `eer` (equal error rate), `precision`, `recall` and `f1` of
        Fake, `accuracy_real` and `accuracy_fake`. Each is nan where it is undefined.

    Raises:
        ModelError: If a score is not finite.
    """
    labels, scores = _checked(labels, scores)
    fake, called = labels == 1, scores >= threshold
    found, accused = np.sum(fake & called), np.sum(~fake & called)
    real_share = _ratio(np.sum(~fake & ~called), np.sum(~fake))
    fake_share = _ratio(found, np.sum(fake))
    return {
        "loss": _ratio(-np.sum(np.log(np.clip(np.where(fake, scores, 1 - scores), CLIP, 1 - CLIP))), len(labels)),
        "accuracy": _ratio(np.sum(fake == called), len(labels)),
        "balanced_accuracy": (real_share + fake_share) / 2,
        "auc": float(roc_auc_score(labels, scores)) if has_both(labels) else np.nan,
        "average_precision": float(average_precision_score(labels, scores)) if has_both(labels) else np.nan,
        "eer": equal_error_rate(labels, scores),
        "precision": _ratio(found, found + accused),
        "recall": fake_share,
        "f1": _ratio(2 * found, found + accused + np.sum(fake)),
        "accuracy_real": real_share,
        "accuracy_fake": fake_share,
    }


def choose_threshold(labels: np.ndarray, scores: np.ndarray) -> float:
    """Find the threshold of highest balanced accuracy, which is that of highest Youden's J (Youden 1950).

    Args:
        labels: (N,) integers, 0 for Real and 1 for Fake.
        scores: (N,) floats, P(fake), 0 to 1.

    Returns:
        The midpoint between two neighbouring scores; of equally good ones, the one nearest to 0.5. It is 0.5 where no
        midpoint does better than chance, as when a class is missing.

    Raises:
        ModelError: If a score is not finite.
    """
    labels, scores = _checked(labels, scores)
    distinct = np.unique(scores)
    midpoints = (distinct[:-1] + distinct[1:]) / 2
    real, fake = np.sort(scores[labels == 0]), np.sort(scores[labels == 1])
    reals_left, fakes_left = np.searchsorted(real, midpoints), np.searchsorted(fake, midpoints)
    youden = reals_left * len(fake) - fakes_left * len(real)  # times both classes' sizes: whole numbers tie exactly
    if youden.max(initial=0) == 0:
        return 0.5
    best = midpoints[youden == youden.max()]
    return float(best[np.abs(best - 0.5).argmin()])


def equal_error_rate(labels: np.ndarray, scores: np.ndarray) -> float:
    """Find the error rate at which as large a share of Real is called Fake as of Fake is called Real.

    Args:
        labels: (N,) integers, 0 for Real and 1 for Fake.
        scores: (N,) floats, P(fake), 0 to 1.

    Returns:
        The rate, 0 to 1, linearly interpolated between the points of the ROC curve; nan where a class is missing.

    Raises:
        ModelError: If a score is not finite.
    """
    labels, scores = _checked(labels, scores)
    if not has_both(labels):
        return np.nan
    accused, found, _ = roc_curve(labels, scores)
    return float(np.interp(0, accused - (1 - found), accused))


def has_both(labels: np.ndarray) -> bool:
    """Say whether (N,) labels hold Real (0) as well as Fake (1)."""
    return 0 < int(np.count_nonzero(labels)) < len(labels)


def _checked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise ValueError(f"labels and scores should both be (N,), not {labels.shape} and {scores.shape}")
    broken = np.count_nonzero(~np.isfinite(scores))
    if broken:
        raise ModelError(
            f"the model's output is not finite for {broken} of {len(scores)} images: "
            "its training diverged; train it again with a lower optimizer.learning_rate"
        )
    return labels, scores


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else np.nan
