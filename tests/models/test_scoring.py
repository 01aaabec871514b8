"""One score of several that belong together."""

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import gmean

from deepfake.models.scoring import SUREST, pool


def test_log_odds_are_averaged_not_probabilities() -> None:
    scores = np.array([0.2, 0.6, 0.7, 0.99])
    assert pool(scores) == pytest.approx(expit(logit(scores).mean()))
    assert pool(scores) / (1 - pool(scores)) == pytest.approx(gmean(scores / (1 - scores)))
    assert pool([0.45, 0.45, 0.45, 0.999]) > 0.75 > np.mean([0.45, 0.45, 0.45, 0.999])


def test_real_and_fake_are_treated_alike() -> None:
    scores = np.random.default_rng(0).random(50)
    assert pool(1 - scores) == pytest.approx(1 - pool(scores))


@pytest.mark.parametrize("score", [0, 1e-9, 0.1, 1 / 3, 0.5, 0.9999999, 1])
def test_what_agrees_stays_what_it_is_to_the_last_bit(score: float) -> None:
    assert pool([score]) == pool([score] * 7) == score


def test_a_score_of_exactly_one_or_zero_does_not_outweigh_all_others() -> None:
    assert pool([1.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]) < 0.5
    assert pool([0.0, 1.0]) == pytest.approx(0.5)
    assert pool([1.0, 0.5]) == pytest.approx(expit(logit(1 - SUREST) / 2))
    assert 0 < pool([0.0, 1e-300, 0.5]) < 0.01
