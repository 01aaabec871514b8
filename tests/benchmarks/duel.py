"""Contestants that take turns: each in a process of its own, one computing at a time.

TensorFlow, PyTorch and OpenCV keep pools of threads for as long as a process lives, so two of them in one process
disturb each other. And a machine is not equally fast all day: taking turns, round by round, spreads that over all.
"""

import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

Turn = Callable[[Any], None]


class NotMeasured(Exception):
    """A contestant that could not take part; the message says why."""


class Over(BaseException):
    """Ends a contestant from within its turn; not an Exception, so that no library swallows it."""


@dataclass(frozen=True)
class Contestant:
    """Someone who does the same work again and again.

    Attributes:
        name: For the report.
        play: Called in the contestant's own process as `play(turn, *arguments)`. It prepares itself, does one round,
            calls `turn(result)`, does the next one when that returns, and so on without end.
        arguments: For `play`; they are pickled.
        needs: Modules without which it cannot take part.
    """

    name: str
    play: Callable[..., None]
    arguments: tuple = ()
    needs: tuple[str, ...] = ()


@dataclass
class Rounds:
    """What a contestant's counted rounds gave.

    Attributes:
        results: What it handed over, one a round.
        absent: Why there are no results; empty where there are.
    """

    results: list[Any] = field(default_factory=list)
    absent: str = ""

    @property
    def result(self) -> float:
        """The median of the results."""
        return median(self.results)


class EpochPairs:
    """Takes a turn after every second epoch, and hands over the speed inside it and the seconds of it all.

    What a framework does between two epochs is its own only if it was not kept waiting there: tf.data's tuner sleeps
    the longer, the longer ago it was made.
    """

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._ended: float | None = None

    def end_of_epoch(self, speed: float) -> None:
        """Take note of an epoch's end, and its speed."""
        now = time.perf_counter()
        if self._ended is None:
            self._ended = now
            return
        self._turn((speed, now - self._ended))
        self._ended = None


def compete(
    contestants: list[Contestant], rounds: int, warm_up: int = 1, logs: Path = Path(os.devnull)
) -> list[Rounds]:
    """Let contestants take turns.

    Args:
        contestants: Who takes part, in the order of their turns.
        rounds: Rounds that count.
        warm_up: Rounds before those, in which they load, trace, compile and fill their caches.
        logs: File to which they print.

    Returns:
        The rounds of each, in the order of `contestants`.
    """
    outcomes = [Rounds(absent=_missing(contestant)) for contestant in contestants]
    players = [None if outcome.absent else _Player(c, logs) for c, outcome in zip(contestants, outcomes, strict=True)]
    try:
        for number in range(warm_up + rounds):
            for player, outcome in zip(players, outcomes, strict=True):
                if player is None or outcome.absent:
                    continue
                try:
                    result = player.play_round()
                except NotMeasured as reason:
                    outcome.absent = str(reason)
                    continue
                if number >= warm_up:
                    outcome.results.append(result)
    finally:
        for player in players:
            if player is not None:
                player.dismiss()
    return outcomes


def once(play: Callable[..., None], *arguments: Any, logs: Path = Path(os.devnull)) -> Any:
    """Let someone play a single round, in a process of its own.

    Args:
        play: As of a `Contestant`.
        arguments: For `play`.
        logs: File to which it prints.

    Returns:
        What it handed over.

    Raises:
        NotMeasured: If it failed.
    """
    [outcome] = compete([Contestant(play.__name__, play, arguments)], rounds=1, warm_up=0, logs=logs)
    if outcome.absent:
        raise NotMeasured(outcome.absent)
    return outcome.results[0]


def _missing(contestant: Contestant) -> str:
    return next((f"{module} is not installed" for module in contestant.needs if not find_spec(module)), "")


class _Player:
    """A contestant's process, as the one who calls the turns sees it."""

    def __init__(self, contestant: Contestant, logs: Path) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_live, args=(contestant, theirs, logs))
        self._process.start()
        theirs.close()

    def play_round(self) -> Any:
        try:
            self._pipe.send("go")
            failed, result = self._pipe.recv()
        except (EOFError, OSError):
            raise NotMeasured("its process ended") from None
        if failed:
            raise NotMeasured(result)
        return result

    def dismiss(self) -> None:
        self._pipe.close()  # whoever waits for a turn sees that there is none any more
        self._process.join(30)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _live(contestant: Contestant, pipe: Connection, logs: Path) -> None:
    with logs.open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)

    def wait() -> None:
        try:
            pipe.recv()
        except (EOFError, OSError):
            raise Over from None

    def turn(result: Any) -> None:
        pipe.send((False, result))
        wait()

    with _ended_by(Over):
        wait()
        try:
            contestant.play(turn, *contestant.arguments)
        except Exception as error:
            traceback.print_exc()
            pipe.send((True, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"))


@contextmanager
def _ended_by(kind: type[BaseException]) -> Iterator[None]:
    try:
        yield
    except kind:
        return
