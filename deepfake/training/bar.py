"""The progress bar of an epoch."""

from typing import Any

import keras
from tqdm import tqdm


class Bar(keras.callbacks.Callback):
    """Shows the images done, images a second and the loss; nothing where the output is not a terminal."""

    def __init__(self, title: str, batch_size: int, images: int) -> None:
        super().__init__()
        self._title, self._batch_size, self._images = title, batch_size, images

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._bar = tqdm(desc=self._title, total=self._images, unit=" images", leave=False, disable=None)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._bar.set_postfix(loss=f"{(logs or {}).get('loss', 0):.3f}", refresh=False)
        self._bar.update(min(self._batch_size, self._images - self._bar.n))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._bar.close()
