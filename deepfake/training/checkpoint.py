"""What an interrupted training needs in order to continue: one file, replaced whole after each epoch."""

import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfake.errors import naming

if TYPE_CHECKING:
    import keras


@dataclass
class Progress:
    """How far a training has come.

    Attributes:
        history: One dict of metrics for each finished epoch.
        best_weights: The weights after the epoch with the highest validation AUC.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best_weights: list[np.ndarray] = field(default_factory=list)

    @property
    def best_epoch(self) -> int:
        """Index of the epoch with the highest validation AUC, the first of several; -1 before the first epoch."""
        return self.aucs.index(max(self.aucs)) if self.history else -1

    @property
    def aucs(self) -> list[float]:
        """Validation AUC of each finished epoch."""
        return [epoch["val_auc"] for epoch in self.history]


class Writer:
    """Writes checkpoints while the training goes on; a reader, and a crash, see the last whole one.

    Example:
        >>> with Writer(path) as writer:
        ...     writer.save(progress, model)  # returns at once; the end of the block waits
    """

    def __init__(self, path: Path) -> None:
        """Make a writer of one file."""
        self._path = path
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        if self._writing and kind is None:
            self._writing.result()

    def save(self, progress: Progress, model: "keras.Model") -> None:
        """Begin to write a checkpoint, once the one before is written.

        Args:
            progress: Epochs done and best weights.
            model: A compiled model: its weights, its random states and its optimizer's state are kept as they are now.

        Raises:
            OSError: If the one before could not be written.
        """
        arrays = {"history": np.frombuffer(json.dumps(progress.history).encode(), np.uint8)}
        arrays |= {f"best_{i}": value for i, value in enumerate(progress.best_weights)}
        arrays |= {f"model_{i}": np.array(variable.numpy()) for i, variable in enumerate(model.variables)}
        arrays |= {f"optimizer_{i}": np.array(variable.numpy()) for i, variable in enumerate(model.optimizer.variables)}
        if self._writing:
            self._writing.result()
        self._writing = self._thread.submit(_write, self._path, arrays)


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    partial = path.with_suffix(".partial")
    try:
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]  # for all it knows, one is called `allow_pickle`
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def load_progress(path: Path) -> Progress:
    """Read how far a training had come; an empty `Progress` where there is no checkpoint."""
    if not path.is_file():
        return Progress()
    with np.load(path) as arrays:
        return Progress(json.loads(arrays["history"].tobytes()), _listed(arrays, "best"))


def restore_model(path: Path, model: "keras.Model") -> None:
    """Put the weights and random states of a checkpoint into a model."""
    with np.load(path) as arrays:
        _assign(model.variables, _listed(arrays, "model"))


def restore_optimizer(path: Path, model: "keras.Model") -> None:
    """Put the optimizer's state of a checkpoint into a compiled model, whose optimizer is built."""
    with np.load(path) as arrays:
        _assign(model.optimizer.variables, _listed(arrays, "optimizer"))


def _listed(arrays: "np.lib.npyio.NpzFile", prefix: str) -> list[np.ndarray]:
    count = sum(name.startswith(f"{prefix}_") for name in arrays.files)
    return [arrays[f"{prefix}_{i}"] for i in range(count)]


def _assign(variables: list, values: list[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
