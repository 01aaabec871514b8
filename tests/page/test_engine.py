"""Many visitors at once: each gets the answer it would get alone."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from deepfake.detector import Detector, Prediction
from deepfake.errors import ModelError
from deepfake.page.engine import BATCH, Engine

SIZE = 32


class Counting(Detector):
    """A detector that remembers how many pictures each pass of the model had."""

    passes: list[int]

    def explain(self, images: np.ndarray) -> tuple[list[Prediction], np.ndarray]:
        self.passes.append(len(images))
        return super().explain(images)


@pytest.fixture(scope="module")
def engine(detector: Detector) -> Engine:
    counting = Counting(detector.model, detector.card)
    counting.passes = []
    return Engine(counting, "a model")


def squares(number: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (number, SIZE, SIZE, 3), dtype=np.uint8)


def test_a_picture_is_judged_as_the_detector_judges_it(engine: Engine, detector: Detector) -> None:
    [square] = squares(1)
    [(prediction, heat)] = engine.judge([square])
    assert prediction.p_fake == pytest.approx(detector.predict(square).p_fake, abs=1e-6)
    assert prediction.verdict == detector.predict(square).verdict
    assert heat.shape == (SIZE, SIZE)
    assert 0 <= heat.min() <= heat.max() <= 1


def test_each_of_many_gets_its_own_answer(engine: Engine) -> None:
    asked = squares(200)
    alone = [engine.judge([square])[0][0].p_fake for square in asked]
    engine.detector.passes.clear()
    with ThreadPoolExecutor(16) as pool:
        together = [judged[0][0].p_fake for judged in pool.map(lambda square: engine.judge([square]), asked)]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert sum(engine.detector.passes) == 200
    assert len(engine.detector.passes) < 200  # some were judged together
    assert max(engine.detector.passes) <= BATCH


def test_more_than_a_batch_at_once(engine: Engine) -> None:
    assert len(engine.judge(list(squares(BATCH + 3)))) == BATCH + 3


def test_an_error_reaches_whoever_waited_and_nobody_else(engine: Engine) -> None:
    with pytest.raises(ModelError, match="cannot judge a picture"):
        engine.judge([np.zeros((SIZE, SIZE + 1, 3), np.uint8)])
    assert engine.judge(squares(1))
