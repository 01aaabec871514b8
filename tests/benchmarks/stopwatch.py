"""The speed of Keras's training inside an epoch. Imports Keras, so only contestants import it."""

import time
from typing import Any

import keras

SKIPPED = 3  # steps at the start of an epoch that do not count


class Stopwatch(keras.callbacks.Callback):
    """Times the steps of the running epoch, from the end of the third to the end of the last.

    What Keras does before an epoch and after it is left out: tf.data's tuner, for one, may sleep on for as long as a
    short epoch takes before it lets go of an iterator.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ends: list[tuple[int, float]] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._ends = []

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._ends.append((batch, time.perf_counter()))

    def steps_per_second(self) -> float:
        """Return the speed in the last epoch, which `Model.fit` trained in more than `SKIPPED` steps."""
        if len(self._ends) <= SKIPPED:
            raise RuntimeError(f"saw {len(self._ends)} steps of the epoch: is it not Model.fit that trains?")
        (first, started), (last, ended) = self._ends[SKIPPED - 1], self._ends[-1]
        return (last - first) / (ended - started)

    def watch_every_fit(self) -> None:
        """Take part in every later `Model.fit` of this process."""
        fit = keras.Model.fit

        def watched(model: keras.Model, *args: Any, **options: Any) -> keras.callbacks.History:
            return fit(model, *args, **options | {"callbacks": [*(options.get("callbacks") or []), self]})

        keras.Model.fit = watched
