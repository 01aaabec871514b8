"""A loaded model that many visitors ask at once: whoever waits is judged together, in one pass of the model."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from threading import Lock

import numpy as np

from deepfake.detector import Detector, Prediction

BATCH = 16

Judged = tuple[Prediction, np.ndarray]


class Engine:
    """A detector, warmed up, that any number of threads may ask.

    Attributes:
        detector: The detector.
        name: What it is called on the page.
    """

    def __init__(self, detector: Detector, name: str) -> None:
        self.detector, self.name = detector, name
        self._waiting: deque[tuple[np.ndarray, Future[Judged]]] = deque()
        self._turn = Lock()
        size = detector.card.input_size
        for number in (1, 2, BATCH):  # so that no visitor waits for what is compiled once
            self.judge([np.zeros((size, size, 3), np.uint8)] * number)

    def judge(self, squares: Sequence[np.ndarray]) -> list[Judged]:
        """Judge pictures; those of other threads that wait meanwhile are judged in the same pass.

        Args:
            squares: Each (size, size, 3), uint8 RGB, as of `Detector.prepare`.

        Returns:
            For each its prediction and its heat map, (size, size), float32, 0 to 1.
        """
        mine: list[Future[Judged]] = [Future() for _ in squares]
        self._waiting.extend(zip(squares, mine, strict=True))
        while not all(future.done() for future in mine):
            with self._turn:  # others may have judged them while this thread waited for its turn
                self._judge_some()
        return [future.result() for future in mine]

    def _judge_some(self) -> None:
        taken = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        if not taken:
            return
        try:
            predictions, maps = self.detector.explain(np.stack([square for square, _ in taken]))
        except Exception as error:  # whoever waits hears of it
            for _, future in taken:
                future.set_exception(error)
            return
        for (_, future), *judged in zip(taken, predictions, maps, strict=True):
            future.set_result((judged[0], judged[1]))
