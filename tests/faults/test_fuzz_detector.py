"""Detectors at random: one line, or a P(fake) from 0 to 1; no file is written, and no other file is read.

The card's hash is right each time. A file with other bytes than Keras wrote is first read in a process of its own, as
HDF5 is written in C and a wrong byte may take it down.
"""

import copy
import json
import multiprocessing
import random
import shutil
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from deepfake import Detector
from deepfake.detector import CARD_FILE, MODEL_FILE
from deepfake.errors import ModelError
from deepfake.models import h5
from tests.faults.detectors import edit_config, make, sign
from tests.faults.fuzzing import examples

pytestmark = pytest.mark.faults

CORPUS = Path(__file__).with_name("corpus") / "bytes.json"
PATIENCE = 100  # seconds

Flips = tuple[int, int, str]  # a seed, how many bytes are changed, and which: `any`, those `used`; or a `cut`

OTHER = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**63, 10**12, 10**30, 1.5, float("nan"), float("inf"), 1e308]),
    st.sampled_from(["", "valid", "same", "channels_first", "float16", "string", "relu", "softmax", "Lambda", "os"]),
    st.text(max_size=6),
    st.sampled_from(
        [[], {}, [1], [10**9, 10**9], [None, None], [[1, 2], [3, 4]], {"class_name": "Lambda", "config": {}}]
    ),
    st.sampled_from([{"class_name": "__tuple__", "items": [1, 2]}, {"module": "os", "class_name": "system"}]),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("made"), "cnn")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "detector"))


def check(folder: Path) -> None:
    before = sorted(folder.parent.rglob("*"))
    try:
        found = Detector.load(folder).predict(np.zeros((9, 9, 3), np.uint8))
        assert 0 <= found.p_fake <= 1
    except ModelError as error:
        assert str(error).isprintable()
        assert len(str(error)) < len(str(folder)) + 300
    assert sorted(folder.parent.rglob("*")) == before


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Every place in a tree of JSON: what holds it, and its key or number there."""
    pairs = list(tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ())
    return [(tree, key) for key, _ in pairs] + [place for _, inner in pairs for place in places(inner)]


def mutate(tree: Any, changes: list[tuple[int, str, Any]]) -> None:
    for where, how, value in changes:
        found = places(tree)
        if not found:
            return
        holder, key = found[where % len(found)]
        if how == "delete":
            del holder[key]
        elif how == "swap":
            other, at = found[(where * 31 + 7) % len(found)]
            holder[key] = copy.deepcopy(other[at])
        else:
            holder[key] = copy.deepcopy(value)  # the next change may be one within it


def changes() -> st.SearchStrategy[list[tuple[int, str, Any]]]:
    one = st.tuples(st.integers(0, 10**6), st.sampled_from(["set", "set", "set", "delete", "swap"]), OTHER)
    return st.lists(one, min_size=1, max_size=3)


def test_a_configuration_changed_at_random(made: Path, folder: Path) -> None:
    def configuration(changes: list) -> None:
        shutil.copy(made / MODEL_FILE, folder)
        edit_config(folder, lambda config: mutate(config, changes))
        check(folder)

    examples(configuration, changes())


def test_a_card_changed_at_random(made: Path, folder: Path) -> None:
    def card(changes: list) -> None:
        told = json.loads((made / CARD_FILE).read_text())
        mutate(told, changes)
        (folder / CARD_FILE).write_text(json.dumps(told))
        check(folder)

    examples(card, changes())


# ------------------------------------------------------------------------------------------------------------- bytes


def serve(calls: Connection) -> None:
    while True:
        try:
            h5.check(Path(calls.recv()))
            calls.send("whole")
        except ModelError as error:
            calls.send(str(error))
        except EOFError:
            return


class Apart:
    """Checks files in a process of its own, and counts how often that died or hung."""

    def __init__(self) -> None:
        self.deaths: list[str] = []
        self._start()

    def check(self, path: Path, case: Any) -> str:
        self._calls.send(str(path))
        try:
            if self._calls.poll(PATIENCE):
                return self._calls.recv()
        except EOFError:
            pass
        self.deaths.append(f"{case}: exit code {self._process.exitcode}")
        self.close()
        self._start()
        return "died"

    def close(self) -> None:
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._calls, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()


@pytest.fixture
def apart() -> Iterator[Apart]:
    process = Apart()
    yield process
    process.close()


def flipped(content: bytes, case: Flips) -> bytes:
    seed, count, part = case
    dice, changed = random.Random(seed), bytearray(content)
    if part == "cut":
        return content[: dice.randrange(len(content))]
    structure = [place for place, byte in enumerate(content) if part == "any" or byte not in (0, 255)]
    for place in dice.choices(structure, k=count):
        changed[place] = dice.choice([0, 255, 1, changed[place] ^ (1 << dice.randrange(8)), dice.randrange(256)])
    return bytes(changed)


def flips() -> st.SearchStrategy[Flips]:
    return st.tuples(
        st.integers(0, 2**32),
        st.sampled_from([1, 2, 3, 10, 100, 2000]),
        st.sampled_from(["any", "used", "used", "cut"]),
    )


def read(made: Path, folder: Path, apart: Apart) -> Callable[[Flips], None]:
    def bytes_of_the_h5(case: Flips) -> None:
        (folder / MODEL_FILE).write_bytes(flipped((made / MODEL_FILE).read_bytes(), case))
        if apart.check(folder / MODEL_FILE, case) == "whole":
            sign(folder)
            check(folder)

    return bytes_of_the_h5


def test_bytes_changed_at_random(made: Path, folder: Path, apart: Apart) -> None:
    examples(read(made, folder, apart), flips())
    assert not apart.deaths


@pytest.mark.parametrize("case", json.loads(CORPUS.read_text()), ids=str)
def test_bytes_that_once_broke_it(made: Path, folder: Path, apart: Apart, case: list[int]) -> None:
    read(made, folder, apart)(tuple(case))
    assert not apart.deaths
