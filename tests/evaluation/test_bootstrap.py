"""Whether a difference between two detectors is more than chance."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deepfake.evaluation.bootstrap import paired_bootstrap, weighted_auc


def images(seed, count=400):
    """Labels, and what makes each image easy or hard to any detector."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    return labels, random.normal(labels, 1), random


def singly(labels):
    return [f"{number}.png" for number in range(len(labels))]


@pytest.mark.parametrize("decimals", [1, 6])
def test_the_auc_of_a_resample_is_that_of_scikit_learn(decimals):
    labels, scores, random = images(0)
    scores = scores.round(decimals)  # with one decimal, many scores tie
    auc = weighted_auc(labels, scores)
    for _ in range(5):
        drawn = random.integers(len(labels), size=len(labels))
        times = np.bincount(drawn, minlength=len(labels))
        assert auc(times) == pytest.approx(roc_auc_score(labels[drawn], scores[drawn]))


def test_a_resample_of_one_class_has_no_auc():
    labels, scores, _ = images(0)
    assert np.isnan(weighted_auc(labels, scores)(labels))


def test_a_detector_does_not_differ_from_itself():
    labels, scores, _ = images(1)
    assert paired_bootstrap(labels, scores, scores, singly(labels)) == (0, 0, 0)


def test_a_clearly_better_detector_is_better_by_more_than_chance():
    labels, scores, random = images(2)
    worse = scores + random.normal(0, 1, len(scores))
    difference, low, high = paired_bootstrap(labels, worse, scores, singly(labels))
    assert difference == pytest.approx(roc_auc_score(labels, scores) - roc_auc_score(labels, worse))
    assert 0 < low < difference < high
    assert paired_bootstrap(labels, scores, worse, singly(labels)) == pytest.approx((-difference, -high, -low))


def test_equally_good_detectors_are_called_different_about_once_in_twenty_times():
    called = 0
    for seed in range(100):
        labels, scores, random = images(seed, count=100)
        a, b = (scores + random.normal(0, 0.5, len(scores)) for _ in range(2))
        _, low, high = paired_bootstrap(labels, a, b, singly(labels), rounds=200)
        called += not low <= 0 <= high
    assert 1 <= called <= 12


def test_copies_of_an_image_are_no_further_evidence():
    labels, scores, random = images(3, count=100)
    worse = scores + random.normal(0, 0.7, len(scores))
    videos = singly(labels)
    _, low, high = paired_bootstrap(labels, worse, scores, videos)
    labels, worse, scores, videos = (np.repeat(values, 9) for values in (labels, worse, scores, videos))
    _, frames_low, frames_high = paired_bootstrap(labels, worse, scores, singly(labels))
    assert paired_bootstrap(labels, worse, scores, videos)[1:] == pytest.approx((low, high))
    assert high - low > 2 * (frames_high - frames_low)


def test_draws_without_one_of_the_classes_are_skipped():
    labels, scores = np.array([0, 0, 0, 1]), np.array([0.1, 0.6, 0.3, 0.5])
    assert np.isfinite(paired_bootstrap(labels, scores, scores[::-1], singly(labels))).all()


def test_one_class_alone_is_refused():
    with pytest.raises(ValueError, match="both classes"):
        paired_bootstrap(np.ones(4, int), np.arange(4), np.arange(4), singly(range(4)))
