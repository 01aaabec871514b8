"""What the numbers say about a detector."""

import numpy as np
import pytest
from sklearn import metrics as reference

from deepfake.errors import ModelError
from deepfake.evaluation import metrics

LABELS = np.array([0, 0, 1, 1])


def noisy(seed, count=300):
    """Labels, and the scores of a detector that is right more often than not."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    return labels, 1 / (1 + np.exp(-random.normal(2 * labels - 1, 1.5)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_numbers_are_those_of_scikit_learn(seed, threshold):
    labels, scores = noisy(seed)
    called = scores >= threshold
    assert metrics.compute(labels, scores, threshold) == pytest.approx(
        {
            "loss": reference.log_loss(labels, scores),
            "accuracy": reference.accuracy_score(labels, called),
            "balanced_accuracy": reference.balanced_accuracy_score(labels, called),
            "auc": reference.roc_auc_score(labels, scores),
            "average_precision": reference.average_precision_score(labels, scores),
            "eer": metrics.equal_error_rate(labels, scores),
            "precision": reference.precision_score(labels, called),
            "recall": reference.recall_score(labels, called),
            "f1": reference.f1_score(labels, called),
            "accuracy_real": reference.recall_score(labels, called, pos_label=0),
            "accuracy_fake": reference.recall_score(labels, called, pos_label=1),
        }
    )


def test_a_perfect_detector():
    values = metrics.compute(LABELS, np.array([0.0, 0.1, 0.9, 1.0]), 0.5)
    best = {"accuracy", "balanced_accuracy", "auc", "average_precision", "precision", "recall", "f1"}
    assert {values[name] for name in best | {"accuracy_real", "accuracy_fake"}} == {1.0}
    assert values["eer"] == 0
    assert values["loss"] == pytest.approx(-np.log(0.9) / 2, abs=1e-6)


def test_a_detector_that_takes_fake_for_real_is_wrong_everywhere_at_a_finite_loss():
    values = metrics.compute(LABELS, np.array([1.0, 1.0, 0.0, 0.0]), 0.5)
    assert (values["accuracy"], values["auc"], values["eer"], values["f1"]) == (0, 0, 1, 0)
    assert values["loss"] == pytest.approx(-np.log(1e-7))


def test_a_detector_that_always_says_the_same_is_no_better_than_a_coin():
    values = metrics.compute(LABELS, np.full(4, 0.7), 0.5)
    assert (values["auc"], values["eer"], values["balanced_accuracy"]) == (0.5, 0.5, 0.5)
    assert (values["accuracy_real"], values["accuracy_fake"]) == (0, 1)


def test_a_score_at_the_threshold_is_called_fake():
    values = metrics.compute(np.array([0, 1]), np.array([0.25, 0.25]), 0.25)
    assert (values["accuracy_real"], values["accuracy_fake"]) == (0, 1)


def test_a_set_of_only_fakes_has_an_accuracy_but_no_auc():
    values = metrics.compute(np.ones(4, int), np.array([0.2, 0.6, 0.7, 0.9]), 0.5)
    assert (values["accuracy"], values["accuracy_fake"], values["recall"], values["precision"]) == (0.75, 0.75, 0.75, 1)
    undefined = {name for name, value in values.items() if np.isnan(value)}
    assert undefined == {"auc", "average_precision", "eer", "balanced_accuracy", "accuracy_real"}


def test_a_set_of_only_real_says_nothing_about_fake():
    values = metrics.compute(np.zeros(4, int), np.array([0.2, 0.3, 0.4, 0.45]), 0.5)
    assert (values["accuracy"], values["accuracy_real"]) == (1, 1)
    undefined = {name for name, value in values.items() if np.isnan(value)}
    assert undefined >= {"auc", "average_precision", "eer", "balanced_accuracy", "accuracy_fake", "recall"}


def test_precision_is_undefined_where_nothing_is_called_fake():
    values = metrics.compute(LABELS, np.full(4, 0.1), 0.5)
    assert np.isnan(values["precision"])
    assert (values["recall"], values["f1"]) == (0, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_output_that_is_not_finite_is_refused_in_one_line(bad):
    with pytest.raises(ModelError, match="not finite for 1 of 4 images") as caught:
        metrics.compute(LABELS, np.array([0.1, bad, 0.8, 0.9]), 0.5)
    assert "\n" not in str(caught.value)


def test_a_column_of_scores_is_refused_rather_than_broadcast():
    with pytest.raises(ValueError, match=r"\(4, 1\)"):
        metrics.compute(LABELS, np.full((4, 1), 0.5), 0.5)


def test_the_threshold_lies_midway_between_two_classes_that_can_be_told_apart():
    scores = np.array([0.02, 0.1, 0.2, 0.9])
    threshold = metrics.choose_threshold(LABELS, scores)
    assert threshold == pytest.approx(0.15)
    assert metrics.compute(LABELS, scores, threshold)["accuracy"] == 1


@pytest.mark.parametrize("seed", range(3))
def test_no_other_threshold_has_a_higher_balanced_accuracy(seed):
    labels, scores = noisy(seed, count=80)
    scores = scores.round(2)  # so that scores tie
    reached = metrics.compute(labels, scores, metrics.choose_threshold(labels, scores))["balanced_accuracy"]
    others = [reference.balanced_accuracy_score(labels, scores >= t) for t in np.linspace(0, 1.01, 203)]
    assert reached == pytest.approx(max(others))


def test_of_equally_good_thresholds_the_one_nearest_to_a_half_is_chosen():
    # 0.1 Real | 0.3 Fake, 0.5 Real | 0.9 Fake: a cut at 0.2 and one at 0.7 are right for three of four
    assert metrics.choose_threshold(np.array([0, 1, 0, 1]), np.array([0.1, 0.3, 0.5, 0.9])) == pytest.approx(0.7)
    assert metrics.choose_threshold(np.array([0, 1, 0, 1]), np.array([0.1, 0.5, 0.7, 0.9])) == pytest.approx(0.3)


def test_classes_of_unequal_size_weigh_alike():
    labels = np.array([0] * 90 + [1] * 10)
    scores = np.r_[np.full(60, 0.1), np.full(30, 0.4), np.full(9, 0.5), 0.1]
    assert metrics.choose_threshold(labels, scores) == pytest.approx(0.45)


@pytest.mark.parametrize("labels", [LABELS, 1 - LABELS[:2], LABELS[:2], LABELS[:0]])
def test_the_threshold_is_a_half_where_the_scores_tell_nothing(labels):
    assert metrics.choose_threshold(labels, np.full(len(labels), 0.8)) == 0.5
    assert metrics.choose_threshold(np.zeros(3, int), np.array([0.1, 0.2, 0.9])) == 0.5


def test_equal_error_rate_where_the_curve_meets_the_diagonal_at_a_point():
    # cut between 0.4 and 0.6: one of four Real is called Fake, one of four Fake is called Real
    labels = np.array([0, 0, 0, 1, 0, 1, 1, 1])
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])
    assert metrics.equal_error_rate(labels, scores) == pytest.approx(0.25)


def test_equal_error_rate_between_two_points_is_interpolated():
    labels = np.array([0, 0, 0, 0, 1, 1])
    scores = np.array([0.1, 0.1, 0.1, 0.6, 0.6, 0.6])
    # the ROC runs from (0, 0) to (0.25, 1) to (1, 1); its first line, y = 4x, meets y = 1 - x at x = 0.2
    assert metrics.equal_error_rate(labels, scores) == pytest.approx(0.2)
