"""Where the time of a training step goes, operation by operation."""

import re
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

STEPS, AFTER = 20, 10  # steps that are watched, after those in which functions are traced and compiled

# What an operation is to a reader, by TensorFlow's name of its kernel; the first that matches counts.
_KINDS = (
    ("convolution", r"Conv2D|Conv2d|Depthwise"),
    ("matrix product", r"MatMul"),
    ("normalisation", r"BatchNorm"),
    ("optimizer", r"ResourceApply|AssignSub|AssignAdd|AssignVariable"),
    ("pooling, ReLU and rescaling, by XLA", r"^CpuExecutable"),
    ("pooling", r"Pool"),
    ("change of number format", r"Cast"),
    ("waiting for images", r"IteratorGetNext"),
    ("augmentation, beside the step", r"PyFunc"),
)


@dataclass(frozen=True)
class Cost:
    """What one operation takes of a step.

    Attributes:
        kind: What it does.
        operation: Its name in the graph and its kernel.
        milliseconds: In a step, over all its calls.
    """

    kind: str
    operation: str
    milliseconds: float


@dataclass(frozen=True)
class Profile:
    """Where a step's time goes.

    Attributes:
        step: Milliseconds of a step, while it was watched.
        costs: Of every operation, dearest first. Operations run side by side: together they may take longer.
    """

    step: float
    costs: list[Cost]

    def by_kind(self) -> dict[str, float]:
        """Return the milliseconds of each kind of operation, dearest first."""
        kinds: dict[str, float] = defaultdict(float)
        for cost in self.costs:
            kinds[cost.kind] += cost.milliseconds
        return dict(sorted(kinds.items(), key=lambda item: -item[1]))


class Profiler(keras.callbacks.Callback):
    """Watches some steps of the first epoch that it sees.

    Attributes:
        profile: What it saw; None until then.
    """

    def __init__(self, steps_per_epoch: int) -> None:
        super().__init__()
        self._first = min(AFTER, steps_per_epoch // 2)
        self._last = min(self._first + STEPS, steps_per_epoch) - 1
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.profile: Profile | None = None

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if batch == self._first and not self.profile:
            self._folder = tempfile.TemporaryDirectory()
            tf.profiler.experimental.start(self._folder.name)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if batch == self._last and self._folder:
            tf.profiler.experimental.stop()
            self.profile = read(Path(self._folder.name), self._last - self._first + 1)
            self._folder.cleanup()
            self._folder = None


def read(folder: Path, steps: int) -> Profile:
    """Read what TensorFlow's profiler wrote.

    Args:
        folder: Where it was told to write.
        steps: Number of steps that it watched.

    Returns:
        The profile.
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    [path] = folder.rglob("*.xplane.pb")
    space = xplane_pb2.XSpace.FromString(path.read_bytes())
    milliseconds: dict[str, float] = defaultdict(float)
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                milliseconds[plane.event_metadata[event.metadata_id].name] += event.duration_ps / 1e9 / steps
    costs = [Cost(_kind(name), _operation(name), ms) for name, ms in milliseconds.items() if _is_operation(name)]
    whole = sum(ms for name, ms in milliseconds.items() if name.endswith("_on_iterator"))
    return Profile(whole, sorted(costs, key=lambda cost: -cost.milliseconds))


def _is_operation(name: str) -> bool:
    """An operation of the step's graph is `place/in/the/graph:Kernel`; what XLA compiled has one name in all."""
    return bool(re.fullmatch(r"[^:\s]+:\w+", name)) or name.startswith("CpuExecutable::Execute")


def _operation(name: str) -> str:
    return (
        "clusters compiled by XLA"
        if name.startswith("CpuExecutable")
        else name.removeprefix("StatefulPartitionedCall/")
    )


def _kind(name: str) -> str:
    kernel = name if name.startswith("CpuExecutable") else name.rpartition(":")[2]
    return next((kind for kind, pattern in _KINDS if re.search(pattern, kernel)), "other")
