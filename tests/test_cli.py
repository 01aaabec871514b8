"""The commands, as they are typed."""

import csv
import io
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from deepfake.config import CONF, compose
from deepfake.data import load
from deepfake.data.cache import entries

ROOT = CONF.parent


def deepfake(*arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "deepfake", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=check)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("broken") / "broken.jpg"
    path.write_bytes(b"text")
    return path


def test_help_lists_the_commands() -> None:
    shown = deepfake("--help").stdout
    for command in ("ui", "runs", "promote", "predict", "evaluate", "cache"):
        assert command in shown


def test_runs(finished_run: dict) -> None:
    shown = deepfake("runs").stdout
    assert finished_run["run_id"][:8] in shown
    assert "1 champion" in shown
    assert json.loads(deepfake("runs", "--json").stdout)[0]["metrics"] == finished_run["metrics"]


def test_runs_when_there_are_none(home: Path) -> None:
    assert "`python run.py` makes one" in deepfake("runs").stdout


@pytest.mark.parametrize("command", ["--help", "runs", "cache"])
def test_a_look_needs_no_tensorflow(finished_run: dict, command: str) -> None:
    program = f"""
import sys
from deepfake.cli import app
sys.argv = ["deepfake", "{command}"]
try:
    app()
finally:
    assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)


def test_predict_a_folder_and_a_broken_file(finished_run: dict, faces: Path, broken: Path) -> None:
    done = deepfake("predict", str(faces / "Test" / "Fake"), str(broken))
    assert done.stdout.count("0023.png") == 1
    assert "not an image" in done.stdout
    assert "A probability, not evidence" in done.stdout
    rows = list(csv.DictReader(io.StringIO(deepfake("predict", "--csv", str(faces / "Test"), str(broken)).stdout)))
    assert len(rows) == 49
    assert rows[-1]["error"].startswith("not an image")
    lines = [
        json.loads(line) for line in deepfake("predict", "--json", str(faces / "Test"), str(broken)).stdout.splitlines()
    ]
    assert [line["path"] for line in lines] == [row["path"] for row in rows]
    assert lines[0]["verdict"] == ("Fake" if lines[0]["p_fake"] >= lines[0]["threshold"] else "Real")


@pytest.fixture
def caches(home: Path, faces: Path) -> Path:
    """The folder of two caches, of faces of 16 px and of 32 px."""
    for size in (16, 32):
        load(compose(["dataset=folder", f"dataset.root={faces}", f"dataset.image_size={size}"]).dataset)
    return home / "data" / "cache"


def test_caches_are_listed(caches: Path, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    shown = deepfake("cache").stdout
    header, newest, oldest = [line.split() for line in shown.splitlines() if "px" in line or str(faces) in line]
    assert header == ["key", "data", "set", "images", "px", "resize", "MB", "last", "used"]
    assert newest[1:6] == [str(faces), "192", "32", "squash", "0.6"]
    assert oldest[1:6] == [str(faces), "192", "16", "squash", "0.2"]
    assert f"0.8 MB in {caches}" in shown


def test_caches_are_cleared_but_for_one_that_is_being_built(caches: Path) -> None:
    oldest, newest = [entry.key[:8] for entry in entries(caches)]
    assert "0.2 MB freed" in deepfake("cache", "clear", oldest).stdout
    (lock,) = caches.glob(f"{newest}*.lock")
    with FileLock(lock):
        assert f"{newest} stays" in deepfake("cache", "clear").stdout
    assert "0.6 MB freed" in deepfake("cache", "clear").stdout
    assert f"No caches in {caches}" in deepfake("cache", "show").stdout


def test_mistakes_are_one_line(finished_run: dict, tmp_path: Path) -> None:
    for arguments, line in [
        (["predict", str(tmp_path / "nothing.jpg")], "nothing.jpg is not there"),
        (["predict", str(tmp_path)], "no images in"),
        (["cache", "clear", "nothing"], "nothing names 0 caches in"),
        (["promote", "99"], "has no version, alias or run 99"),
        (["evaluate", "champion", "dataset=folder"], "dataset.root is missing"),
        (["evaluate", "champion", "dataset=folder", f"dataset.root={tmp_path}", "--split", "Tset"], "should be one of"),
        (["evaluate", "nobody", "dataset=folder", f"dataset.root={tmp_path}"], "no version, alias or run nobody"),
    ]:
        done = deepfake(*arguments, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert line in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_evaluate_all_images(finished_run: dict, faces: Path) -> None:
    shown = deepfake("evaluate", "champion", "dataset=folder", f"dataset.root={faces}", "--split", "all").stdout
    assert "192 images" in shown
    assert "balanced accuracy" in shown


def test_promote(finished_run: dict) -> None:
    assert "version 1 is the champion" in deepfake("promote", finished_run["run_id"][:8]).stdout


def test_the_ui_shows_the_runs(finished_run: dict, serve: Callable) -> None:
    url = "http://127.0.0.1:5917"
    with serve(["deepfake", "ui", "--port", "5917"], f"{url}/health", ROOT):
        body = json.dumps({"experiment_ids": ["1"]}).encode()
        request = urllib.request.Request(
            f"{url}/api/2.0/mlflow/runs/search", body, {"Content-Type": "application/json"}
        )
        runs = json.load(urllib.request.urlopen(request, timeout=30))["runs"]
        assert finished_run["run_id"] in {run["info"]["run_id"] for run in runs}
