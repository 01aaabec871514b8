"""How sure the numbers are, and whether a difference between two detectors is more than chance."""

from statistics import NormalDist

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from deepfake.evaluation import metrics
from deepfake.evaluation.bootstrap import FEWEST, MEASURED, intervals, paired_bootstrap, weighted_auc, weighted_metrics


def images(seed, count=400):
    """Labels, and what makes each image easy or hard to any detector."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    return labels, random.normal(labels, 1), random


def singly(labels):
    return [f"{number}.png" for number in range(len(labels))]


def ends(difference):
    return difference.low, difference.high


# ------------------------------------------------------------------------------------------------- metrics of a sample


@pytest.mark.parametrize("decimals", [1, 6])
def test_the_auc_of_a_resample_is_that_of_scikit_learn(decimals):
    labels, scores, random = images(0)
    scores = scores.round(decimals)  # with one decimal, many scores tie
    auc = weighted_auc(labels, scores)
    for _ in range(5):
        drawn = random.integers(len(labels), size=len(labels))
        times = np.bincount(drawn, minlength=len(labels))
        assert auc(times) == pytest.approx(roc_auc_score(labels[drawn], scores[drawn]))


@pytest.mark.parametrize("decimals", [1, 6])
def test_weights_are_those_of_scikit_learn(decimals):
    labels, scores, random = images(1)
    scores = scores.round(decimals)
    times = random.integers(0, 4, len(labels))
    values = weighted_metrics(labels, scores, 0.4)(times)
    for name, reference in (("auc", roc_auc_score), ("average_precision", average_precision_score)):
        assert values[name] == pytest.approx(reference(labels, scores, sample_weight=times))


@pytest.mark.parametrize("decimals", [1, 6])
def test_metrics_of_a_resample_are_those_of_its_images(decimals):
    labels, scores, random = images(2, count=60)
    scores = scores.round(decimals)
    measure = weighted_metrics(labels, scores, 0.4)
    for size in (60, 60, 60, 4):
        drawn = random.integers(len(labels), size=size)
        expected = metrics.compute(labels[drawn], scores[drawn], 0.4)
        found = measure(np.bincount(drawn, minlength=len(labels)))
        assert found == pytest.approx({name: expected[name] for name in MEASURED}, nan_ok=True)


@pytest.mark.parametrize("label", [0, 1])
def test_a_sample_of_one_class_has_the_metrics_of_that_class_alone(label):
    labels, scores, _ = images(0)
    assert np.isnan(weighted_auc(labels, scores)(labels == label))
    found = weighted_metrics(labels, scores, 0.4)((labels == label).astype(int))
    missing = {"accuracy_real", "accuracy_fake"} - {("accuracy_real", "accuracy_fake")[label]}
    assert {name for name, value in found.items() if not np.isnan(value)} == {
        "accuracy", "accuracy_real", "accuracy_fake",
    } - missing  # fmt: skip


# ----------------------------------------------------------------------------------------------- intervals of a metric


def test_every_metric_lies_within_its_interval():
    labels, scores, _ = images(3)
    values = metrics.compute(labels, scores, 0.4)
    found = intervals(labels, scores, 0.4, singly(labels))
    assert list(found) == list(MEASURED)
    for name, (low, high) in found.items():
        assert low < values[name] < high < low + 0.15
    assert found == intervals(labels, scores, 0.4, singly(labels))
    assert found != intervals(labels, scores, 0.4, singly(labels), seed=1)


def test_the_interval_of_a_share_is_that_of_the_binomial_distribution():
    labels = np.repeat([0, 1], 500)
    scores = np.concatenate([np.tile([0.2, 0.9], 250), np.tile([0.9, 0.9, 0.9, 0.9, 0.2], 100)])
    found = intervals(labels, scores, 0.5, singly(labels), rounds=2000)
    assert found["accuracy_real"] == pytest.approx((0.5 - 1.96 * 0.0224, 0.5 + 1.96 * 0.0224), abs=0.006)
    assert found["accuracy_fake"] == pytest.approx((0.8 - 1.96 * 0.0179, 0.8 + 1.96 * 0.0179), abs=0.006)


def test_scores_that_know_nothing_have_an_auc_of_a_half_within_the_interval():
    labels, scores, random = images(4)
    assert intervals(labels, scores, 0.4, singly(labels))["auc"][0] > 0.5
    low, high = intervals(labels, random.permutation(scores), 0.4, singly(labels))["auc"]
    assert 0.4 < low < 0.5 < high < 0.6


def covered(videos, frames, likeness, drawn, trials=100):
    """Share of trials in which the interval holds the true AUC, where so many neighbouring frames are drawn as one.

    Real scores are normal about 0, Fake ones about 1; those of a video's frames are correlated by `likeness`.
    """
    truth, hits = NormalDist().cdf(1 / np.sqrt(2)), 0
    for seed in range(trials):
        random = np.random.default_rng(seed)
        labels = np.repeat(random.permutation(videos) % 2, frames)
        shared = np.repeat(random.normal(0, np.sqrt(likeness), videos), frames)
        scores = labels + shared + random.normal(0, np.sqrt(1 - likeness), len(labels))
        groups = [f"{number // drawn}" for number in range(len(labels))]
        low, high = intervals(labels, scores, 0.5, groups, rounds=200, seed=seed)["auc"]
        hits += low <= truth <= high
    return hits / trials


def test_the_interval_holds_the_truth_nineteen_times_of_twenty():
    assert covered(videos=200, frames=1, likeness=0, drawn=1) == pytest.approx(0.95, abs=0.04)


def test_frames_of_one_video_drawn_one_by_one_would_make_too_sure():
    assert covered(videos=100, frames=5, likeness=0.8, drawn=5) == pytest.approx(0.95, abs=0.04)
    assert covered(videos=100, frames=5, likeness=0.8, drawn=1) < 0.8


def test_without_a_class_only_what_needs_none_of_it_has_an_interval():
    scores = np.linspace(0, 1, 50)
    found = intervals(np.ones(50, int), scores, 0.4, singly(scores))
    assert {name for name, interval in found.items() if not np.isnan(interval).any()} == {"accuracy", "accuracy_fake"}
    assert found["accuracy"] == found["accuracy_fake"]
    assert np.isnan(list(intervals(np.zeros(0, int), np.zeros(0), 0.5, []).values())).all()


def test_too_few_groups_of_a_class_have_no_intervals():
    labels, scores, _ = images(5, count=100)
    few = [f"real {number % (FEWEST - 1)}" if label == 0 else f"fake {number}" for number, label in enumerate(labels)]
    assert np.isnan(list(intervals(labels, scores, 0.4, few).values())).all()
    enough = [f"real {number % FEWEST}" if label == 0 else f"fake {number}" for number, label in enumerate(labels)]
    assert np.isfinite(list(intervals(labels, scores, 0.4, enough).values())).all()


# ----------------------------------------------------------------------------------------------- two detectors compared


def test_a_detector_does_not_differ_from_itself():
    labels, scores, _ = images(1)
    found = paired_bootstrap(labels, scores, scores, singly(labels))
    assert (found.value, *ends(found), found.probability) == (0, 0, 0, 0.5)


def test_a_clearly_better_detector_is_better_by_more_than_chance():
    labels, scores, random = images(2)
    worse = scores + random.normal(0, 1, len(scores))
    found = paired_bootstrap(labels, worse, scores, singly(labels))
    assert found.value == pytest.approx(roc_auc_score(labels, scores) - roc_auc_score(labels, worse))
    assert 0 < found.low < found.value < found.high
    assert found.probability == 1
    other = paired_bootstrap(labels, scores, worse, singly(labels))
    assert (other.value, *ends(other)) == pytest.approx((-found.value, -found.high, -found.low))
    assert other.probability == 0


def test_the_probability_says_how_sure_a_small_difference_is():
    labels, scores, random = images(6)
    worse = scores + random.normal(0, 0.5, len(scores))
    found = paired_bootstrap(labels, worse, scores, singly(labels))
    spread = (found.high - found.low) / (2 * 1.96)
    assert 0.6 < found.probability < 0.99
    assert found.probability == pytest.approx(NormalDist().cdf(found.value / spread), abs=0.02)
    other = paired_bootstrap(labels, scores, worse, singly(labels))
    assert other.probability == pytest.approx(1 - found.probability)


def test_equally_good_detectors_are_called_different_about_once_in_twenty_times():
    called = 0
    for seed in range(100):
        labels, scores, random = images(seed, count=100)
        a, b = (scores + random.normal(0, 0.5, len(scores)) for _ in range(2))
        found = paired_bootstrap(labels, a, b, singly(labels), rounds=200)
        called += not found.low <= 0 <= found.high
    assert 1 <= called <= 12


def test_copies_of_an_image_are_no_further_evidence():
    labels, scores, random = images(3, count=100)
    worse = scores + random.normal(0, 0.7, len(scores))
    videos = singly(labels)
    low, high = ends(paired_bootstrap(labels, worse, scores, videos))
    labels, worse, scores, videos = (np.repeat(values, 9) for values in (labels, worse, scores, videos))
    frames_low, frames_high = ends(paired_bootstrap(labels, worse, scores, singly(labels)))
    assert ends(paired_bootstrap(labels, worse, scores, videos)) == pytest.approx((low, high))
    assert high - low > 2 * (frames_high - frames_low)


def test_draws_without_one_of_the_classes_are_skipped():
    labels, scores = np.array([0, 0, 0, 1]), np.array([0.1, 0.6, 0.3, 0.5])
    found = paired_bootstrap(labels, scores, scores[::-1], singly(labels))
    assert np.isfinite(ends(found)).all()
    assert 0 < found.probability < 1


def test_one_class_alone_is_refused():
    with pytest.raises(ValueError, match="both classes"):
        paired_bootstrap(np.ones(4, int), np.arange(4), np.arange(4), singly(range(4)))
