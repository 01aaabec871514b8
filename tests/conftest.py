"""What the tests share: a home of their own, a folder of small faces, and one finished run."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.pop("COLUMNS", None)  # which the workers of `pytest -n` have from pytest; commands print to a pipe here

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def session_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing that the tests write lands in the project."""
    home = tmp_path_factory.mktemp("home")
    os.environ["DEEPFAKE_HOME"] = str(home)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    return home


@pytest.fixture
def new_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home for one test alone, in which nothing is yet."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("DEEPFAKE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of no runs: MLflow takes seconds to make its tables, which is done once for all tests."""
    from deepfake import tracking

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPFAKE_HOME", str(tmp_path_factory.mktemp("empty")))
        tracking.client()
        return tracking.database()


@pytest.fixture
def home(new_home: Path, empty_database: Path) -> Path:
    """A home for one test alone: no data, no runs."""
    (new_home / "mlruns").mkdir()
    shutil.copy(empty_database, new_home / "mlruns")
    return new_home


def draw_face(label: int, number: int, size: int = 40) -> np.ndarray:
    """A grey blob on noise; a fake's blob is smoother. Enough for a network to learn a little from."""
    rng = np.random.default_rng([label, number])
    image = rng.integers(60, 190, (size, size, 3), dtype=np.uint8)
    patch = cv2.GaussianBlur(image, (0, 0), 2.0) if label else image
    inside = np.zeros((size, size), np.uint8)
    cv2.circle(inside, (size // 2, size // 2), size // 3, 1, -1)
    return np.where(inside[:, :, None] == 1, patch, image).astype(np.uint8)


@pytest.fixture(scope="session")
def make_faces() -> Callable[..., Path]:
    """Fill a folder with labelled faces: `make_faces(root, {"Train": 20, "Test": 8})`, so many of each class."""

    def make(root: Path, counts: dict[str, int], suffix: str = ".png") -> Path:
        number = 0
        for split, count in counts.items():
            for label, name in enumerate(("Real", "Fake")):
                folder = root / split / name
                folder.mkdir(parents=True, exist_ok=True)
                for i in range(count):
                    number += 1
                    cv2.imwrite(str(folder / f"{i:04d}{suffix}"), draw_face(label, number))
        return root

    return make


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory, make_faces: Callable[..., Path]) -> Path:
    """A small data set in the usual layout. Read only."""
    return make_faces(tmp_path_factory.mktemp("faces"), {"Train": 48, "Validation": 24, "Test": 24})


@pytest.fixture(scope="session")
def small(faces: Path) -> list[str]:
    """Overrides of a run that takes seconds."""
    return [
        "dataset=folder",
        f"dataset.root={faces}",
        "dataset.image_size=32",
        "model.filters=[4,8]",
        "model.dense=16",
        "trainer.epochs=2",
        "trainer.batch_size=16",
    ]


@pytest.fixture(scope="session")
def finished_run(session_home: Path, small: list[str]) -> dict:
    """One whole run: trained, evaluated, recorded, registered as version 1 and champion."""
    os.environ["DEEPFAKE_HOME"] = str(session_home)
    from deepfake import experiment, leaderboard
    from deepfake.config import compose

    auc = experiment.run(compose(small))
    row = leaderboard.rows()[0]
    return {"auc": auc, "run_id": row["run_id"], "metrics": row["metrics"], "params": row["params"]}


@pytest.fixture(scope="session")
def serve() -> Callable[..., AbstractContextManager[None]]:
    """A Python module that serves while a test looks; given its arguments, the address of its health and a folder."""

    @contextmanager
    def running(arguments: list[str], health: str, folder: Path) -> Iterator[None]:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([sys.executable, "-m", *arguments], cwd=folder, start_new_session=True, **quiet)
        try:
            deadline = time.monotonic() + 180
            while not _answers(health):
                assert time.monotonic() < deadline, f"{health} does not answer"
                time.sleep(0.5)
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)

    return running


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Find a port where nothing listens."""

    def find() -> int:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return free.getsockname()[1]

    return find


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """The system's Chromium, headless, with a camera that shows a moving drawing."""
    from playwright.sync_api import sync_playwright

    arguments = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    arguments += ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


def _answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=2).status == 200
    except OSError:
        return False
