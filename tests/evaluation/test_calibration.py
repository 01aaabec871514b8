"""How far P(fake) can be believed, and when no verdict is given."""

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression

from deepfake.evaluation.calibration import (
    Band,
    check_band,
    choose_band,
    expected_calibration_error,
    fit_temperature,
    reliability,
)
from deepfake.models.scoring import temper


def calibrated(seed, count=4000, certain=2.0):
    """Labels and scores: of the images with a score of 0.8, 80 % are Fake."""
    random = np.random.default_rng(seed)
    scores = expit(random.normal(0, certain, count))
    return (random.random(count) < scores).astype(int), scores


def detector(seed, apart, count):
    """Labels, half of them Fake, and scores whose log-odds lie `apart` standard deviations apart."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    return labels, expit(random.normal(apart * (labels - 0.5), 1))


# ----------------------------------------------------------------------------------------------------- temperature


@pytest.mark.parametrize("temperature", [0.5, 1, 3])
def test_scores_that_were_spread_apart_are_drawn_together_again(temperature):
    labels, scores = calibrated(0)
    spoilt = temper(scores, 1 / temperature).astype(np.float32)
    found = fit_temperature(labels, spoilt)
    assert found == pytest.approx(temperature, rel=0.06)
    assert expected_calibration_error(labels, temper(spoilt, found)) < 0.025


def test_on_many_images_it_is_a_logistic_regression_without_an_intercept():
    labels, scores = calibrated(1)
    odds = logit(scores)[:, None] * 2
    slope = LogisticRegression(C=np.inf, fit_intercept=False).fit(odds, labels).coef_[0, 0]
    assert fit_temperature(labels, expit(odds[:, 0])) == pytest.approx(1 / slope, rel=0.01)


def test_scores_of_exactly_0_and_1_even_wrong_ones_leave_a_finite_temperature():
    labels = np.array([0, 1] * 50)
    scores = labels.astype(np.float32)
    assert 0.05 < fit_temperature(labels, scores) < 20
    scores[:10] = 1 - scores[:10]  # ten that are wrong and as sure as can be
    found = fit_temperature(labels, scores)
    assert temper(1 - 1e-7, found) == pytest.approx(0.9, abs=0.02)


def test_a_detector_without_a_mistake_is_not_taken_to_be_right_forever():
    labels = np.array([0, 1] * 50)
    scores = np.where(labels == 1, 0.6, 0.4)
    assert temper(scores, fit_temperature(labels, scores))[labels == 1] == pytest.approx(1 - 1 / 52)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_or_scores_that_are_all_the_same_tell_no_temperature(label):
    assert fit_temperature(np.full(20, label), np.linspace(0.1, 0.9, 20)) == 1
    assert fit_temperature(np.arange(20) % 2, np.full(20, 0.3 + label / 2)) == 1
    assert fit_temperature(np.zeros(0, int), np.zeros(0)) == 1


def test_a_detector_that_is_wrong_more_often_than_right_is_made_as_unsure_as_can_be():
    labels, scores = detector(0, 1, 200)
    assert fit_temperature(labels, 1 - scores) == 20


@pytest.mark.parametrize("temperature", [0.5, 0.9, 1, 3, 20])
def test_a_temperature_keeps_the_order_and_the_ends(temperature):
    scores = np.unique(expit(np.random.default_rng(0).normal(0, 5, 2000)).astype(np.float32))
    tempered = temper(scores, temperature)
    assert tempered.dtype == np.float64
    assert (np.diff(tempered) > 0).all()
    assert tempered == pytest.approx(expit(logit(scores.astype(np.float64)) / temperature), rel=1e-9)
    assert temper(np.array([0, 0.5, 1]), temperature).tolist() == [0, 0.5, 1]


def test_a_temperature_of_1_changes_no_bit():
    scores = np.random.default_rng(0).random(1000)
    assert np.array_equal(temper(scores, 1.0), scores)


# ---------------------------------------------------------------------------------------------------------- error


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_calibration_error_image_by_image(bins):
    random = np.random.default_rng(0)
    labels, scores = random.integers(0, 2, 200), random.random(200)
    total = 0.0
    for place in range(bins):
        chosen = [i for i, score in enumerate(scores) if int(score * bins) == place]
        if chosen:
            total += len(chosen) / 200 * abs(np.mean(scores[chosen]) - np.mean(labels[chosen]))
    assert expected_calibration_error(labels, scores, bins) == pytest.approx(total)


def test_calibration_error_by_hand():
    labels, scores = np.array([0, 1, 1, 1]), np.array([0.1, 0.1, 0.5, 1.0])
    # two bins: 0.1 against a half; 0.5 and 1, whose mean is 0.75, against all. The score on the border is an upper one
    assert expected_calibration_error(labels, scores, bins=2) == pytest.approx((0.4 + 0.25) / 2)
    assert expected_calibration_error(np.array([0, 1]), np.array([0.0, 1.0])) == 0
    assert np.isnan(expected_calibration_error(labels[:0], scores[:0]))


def test_the_diagram_names_both_errors():
    labels, scores = calibrated(0, 500)
    figure = reliability(labels, temper(scores, 0.3), scores)
    entries = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert entries[1:] == [
        f"Before: ECE {expected_calibration_error(labels, temper(scores, 0.3)):.3f}",
        f"After: ECE {expected_calibration_error(labels, scores):.3f}",
    ]
    points = np.array(figure.axes[0].collections[1].get_offsets())
    assert len(points) == 15
    assert np.abs(points[:, 0] - points[:, 1]).mean() < 0.1
    assert "500" in figure.axes[0].get_title()


def test_a_diagram_of_nothing_says_so(tmp_path):
    reliability(np.zeros(0, int), np.zeros(0), np.zeros(0)).savefig(tmp_path / "none.png")
    reliability(np.ones(1, int), np.ones(1), np.ones(1)).savefig(tmp_path / "one.png")


# ----------------------------------------------------------------------------------------------------------- band


def shown(right, certainty):
    """Whether so many right verdicts are more than chance, by the bound of Clopper and Pearson as SciPy has it."""
    test = binomtest(int(np.sum(right)), len(right), alternative="greater")
    return test.proportion_ci(0.95, method="exact").low >= certainty


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("decimals", [1, 2, 9])
def test_no_smaller_band_would_do(seed, decimals):
    labels, scores = detector(seed, 1.5, 80)
    scores = scores.round(decimals)  # so that scores tie
    threshold = 0.45
    band = choose_band(labels, scores, threshold, certainty=0.7)
    highs = [cut for cut in [*scores, threshold] if cut >= threshold and (scores > cut).any()]
    good = [np.sum(scores > cut) for cut in highs if shown(labels[scores > cut] == 1, 0.7)]
    assert np.sum(scores > band.high) == max(good, default=0)
    lows = [cut for cut in [*scores, threshold] if cut <= threshold and (scores < cut).any()]
    good = [np.sum(scores < cut) for cut in lows if shown(labels[scores < cut] == 0, 0.7)]
    assert np.sum(scores < band.low) == max(good, default=0)
    assert band.low <= threshold <= band.high


def test_a_good_detector_is_unsure_only_near_its_threshold():
    labels, scores = detector(0, 2.6, 600)
    band = choose_band(labels, scores, 0.5)
    assert 0 < band.low < 0.5 < band.high < 1
    assert (band.supported, band.reason, band.certainty) == (True, "", 0.9)
    assert check_band(labels, scores, band)[:2] == (band.right, band.coverage)
    assert band.right > 0.9
    assert band.coverage == np.mean((scores < band.low) | (scores > band.high)) > 0.7


def test_the_more_is_asked_the_wider_is_the_band():
    labels, scores = detector(0, 2.6, 2000)
    coverage = [choose_band(labels, scores, 0.5, certainty).coverage for certainty in (0.6, 0.85, 0.9, 0.95, 0.98)]
    assert coverage == sorted(coverage, reverse=True)
    assert coverage[0] == 1 > coverage[-1] > 0


def test_a_detector_whose_every_verdict_is_right_often_enough_has_an_empty_band():
    labels, scores = detector(0, 8, 200)
    band = choose_band(labels, scores, 0.5)
    assert (band.low, band.high, band.coverage) == (0.5, 0.5, 1)


def test_a_weak_detector_gives_no_verdict_and_says_why():
    labels, scores = detector(0, 0.3, 600)
    band = choose_band(labels, scores, 0.5)
    assert (band.low, band.high, band.supported, band.coverage) == (0, 1, False, 0)
    assert np.isnan(band.right)
    assert band.reason == (
        "no part of the 600 Validation images shows a verdict to be right 90% of the time "
        "(it takes at least 29, all right)"
    )
    held = check_band(np.array([0, 1]), np.array([0.0, 1.0]), band)  # not even scores of 0 and 1 get one
    assert held.coverage == 0


def test_28_right_verdicts_of_28_are_too_few_and_29_are_enough():
    for count, enough in ((28, False), (29, True)):
        labels = np.array([0, 1] * count)
        band = choose_band(labels, labels * 0.8 + 0.1, 0.5)
        assert band.supported is enough


def test_a_detector_that_is_reliable_on_one_side_says_only_that():
    labels = np.array([1] * 100 + [0] * 60 + [1] * 40)
    scores = np.r_[np.full(100, 0.9), np.linspace(0.1, 0.4, 100)[::-1]]
    band = choose_band(labels, scores, 0.5)
    assert (band.low, band.high, band.supported) == (0, 0.5, True)
    assert "shows the verdict Real to be right 90% of the time" in band.reason
    held = check_band(labels, scores, band)
    assert held[:2] + held[3:] == (1, 0.5, 1)
    assert np.isnan(held.right_real)


@pytest.mark.parametrize("labels", [np.zeros(0, int), np.zeros(60, int), np.ones(60, int)])
def test_one_class_alone(labels):
    band = choose_band(labels, np.linspace(0.1, 0.9, len(labels)), 0.5)
    assert (band.low > 0, band.high < 1) == ((labels == 0).any(), (labels == 1).any())


def test_the_share_of_each_verdict_that_is_right():
    labels, scores = np.array([0, 0, 0, 1, 0, 1]), np.array([0.1, 0.2, 0.5, 0.15, 0.9, 0.8])
    band = choose_band(labels, scores, 0.5)
    assert check_band(labels, scores, band).coverage == 0
    wide = Band(low=0.3, high=0.7, certainty=0.9, right=0.9, coverage=0.5, supported=True, reason="")
    assert check_band(labels, scores, wide) == pytest.approx((3 / 5, 5 / 6, 2 / 3, 1 / 2))


@pytest.mark.parametrize("apart", [1.0, 2.3])
def test_what_validation_promises_new_images_keep(apart):
    kept = []
    for seed in range(60):
        band = choose_band(*detector(seed, apart, 400), threshold=0.5)
        held = check_band(*detector(1000 + seed, apart, 20_000), band)
        kept += [np.isnan(share) or share >= 0.9 for share in (held.right_real, held.right_fake)]
    assert np.mean(kept) >= 0.93
