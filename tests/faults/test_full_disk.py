"""A disk that is full: one line names the path, what was written stays whole, and the next start works."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deepfake import leaderboard, registry
from deepfake.detector import Detector

pytestmark = pytest.mark.faults

EPOCHS = 6


@pytest.fixture
def disk() -> Iterator[Callable[[Path, str], Path]]:
    """Make a folder a disk of its own, so and so large."""
    made = []

    def mount(folder: Path, size: str) -> Path:
        folder.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if os.geteuid() or shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("only root may mount a disk")
        made.append(folder)
        return folder

    yield mount
    for folder in made:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def settings(small: list[str]) -> list[str]:
    return [*small, f"trainer.epochs={EPOCHS}", "trainer.early_stopping=null", "evaluation.robustness=false"]


def fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb") as file:
        size = 1 << 20
        while size:
            try:
                os.write(file.fileno(), b"\0" * size)
            except OSError:
                size //= 2
    return filler


def enlarge(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=200m", str(folder)], check=True)


def refused(done: subprocess.CompletedProcess, folder: Path) -> None:
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {folder}/")
    assert "No space left on device" in line


def goes_on(typed: Callable) -> None:
    """Assert that the only run, resumed, comes to its end with all that belongs to it."""
    (row,) = leaderboard.rows()
    assert row["status"] != "FINISHED"
    done = typed("run.py", f"resume={row['run_id']}")
    assert done.returncode == 0, done.stderr
    (row,) = leaderboard.rows()
    assert (row["status"], row["version"], row["alias"]) == ("FINISHED", "1", "champion")
    assert Detector.load(registry.fetch("champion")).card.run_id == row["run_id"]


@pytest.mark.parametrize(("place", "size"), [("checkpoints", "60k"), ("artifacts", "60k")])
def test_of_a_part(place: str, size: str, home: Path, disk: Callable, settings: list[str], typed: Callable) -> None:
    folder = disk(home / "mlruns" / place, size)
    done = typed("run.py", *settings)
    refused(done, folder)
    (row,) = leaderboard.rows()
    assert f"free some space; then: python run.py resume={row['run_id']}" in done.stderr
    assert row["status"] == "FAILED"
    enlarge(folder)
    goes_on(typed)


def test_of_all_as_it_trains(home: Path, disk: Callable, settings: list[str], start: Callable, typed: Callable) -> None:
    folder = disk(home / "mlruns", "60m")
    process = start("run.py", *settings)
    for line in process.stdout:
        if f"epoch   2/{EPOCHS}" in line:
            break
    filler = fill(folder)
    stdout, stderr = process.communicate(timeout=300)
    refused(subprocess.CompletedProcess([], process.returncode, stdout, stderr), folder)
    filler.unlink()
    goes_on(typed)


def test_before_anything_is_there(home: Path, disk: Callable, settings: list[str], typed: Callable) -> None:
    folder = disk(home / "mlruns", "60m")
    filler = fill(folder)
    done = typed("run.py", *settings)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert f"error: {home} or " in done.stderr
    filler.unlink()
    done = typed("run.py", *settings)
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in leaderboard.rows()] == ["FINISHED"]
