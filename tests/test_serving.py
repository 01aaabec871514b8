"""A version answers through MLflow, from anywhere, what the detector answers itself."""

import base64
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from importlib.metadata import packages_distributions, version
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.models import Model

from deepfake import Detector, registry, tracking
from deepfake.config import PROJECT

CHAMPION = "models:/deepfake-detector@champion"


@pytest.fixture(scope="module")
def folder(finished_run: dict) -> Path:
    return registry.fetch(finished_run["run_id"])


@pytest.fixture
def store(finished_run: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person exports before calling MLflow."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri())
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # MLflow starts uvicorn by name


@pytest.fixture(scope="module")
def paths(faces: Path) -> list[Path]:
    return sorted(faces.glob("Test/*/*.png"))[::8]


def as_text(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_it_says_what_the_detector_says(store: None, folder: Path, paths: list[Path]) -> None:
    model = mlflow.pyfunc.load_model(CHAMPION)
    expected = Detector.load(folder).predict_many(paths)
    for images in (
        [as_text(path) for path in paths],
        [path.read_bytes() for path in paths],
        [f"data:image/png;base64,{as_text(path)}" for path in paths],
        [base64.encodebytes(path.read_bytes()).decode() for path in paths],  # in lines
    ):
        said = model.predict(pd.DataFrame({"image": images}))
        assert [row["p_fake"] for row in said] == pytest.approx([one.p_fake for one in expected], abs=1e-6)
        assert [row["verdict"] for row in said] == [one.verdict for one in expected]
        assert {row["threshold"] for row in said} == {expected[0].threshold}
        assert {row["error"] for row in said} == {None}
    assert model.predict([{"image": as_text(paths[0])}])[0]["p_fake"] == pytest.approx(expected[0].p_fake, abs=1e-6)


def test_what_is_no_image_is_a_row_among_others(store: None, paths: list[Path]) -> None:
    good, cut = as_text(paths[0]), base64.b64encode(paths[0].read_bytes()[:200]).decode()
    wrong = {
        "?": "not base64",
        "é": "not base64",
        str(paths[0]): "not base64",
        "": "an empty file",
        "text": "not an image; JPEG, PNG, WebP, BMP, TIFF and GIF are read",
        cut: "a damaged or incomplete image (OSError)",
        None: "neither base64 text nor bytes",
        7: "neither base64 text nor bytes",
    }
    model = mlflow.pyfunc.load_model(CHAMPION)
    first, *rows, last = model.predict(pd.DataFrame({"image": [good, *wrong, good]}, dtype=object))
    assert rows == [dict.fromkeys(("verdict", "p_fake", "threshold")) | {"error": text} for text in wrong.values()]
    assert first["verdict"] == last["verdict"] is not None


def test_the_folder_tells_mlflow_what_it_needs(folder: Path, finished_run: dict) -> None:
    told = Model.load(folder)
    assert told.run_id == finished_run["run_id"]
    assert [column.name for column in told.signature.inputs] == ["image"]
    assert [column.name for column in told.signature.outputs] == ["verdict", "p_fake", "threshold", "error"]
    needed = dict(line.split("==") for line in (folder / "requirements.txt").read_text().split())
    assert {"mlflow", "keras", "numpy", "pillow"} <= set(needed)
    assert needed == {name: version(name) for name in needed}
    assert sum(file.stat().st_size for file in (folder / "code").rglob("*") if file.is_file()) < 150_000


def loaded_from(folder: Path, cwd: Path) -> str:
    """Load the folder's model in a fresh process; return where `deepfake` came from and what it imports after that."""
    program = """
import importlib, sys, mlflow
mlflow.pyfunc.load_model(sys.argv[1])
import deepfake
try:
    importlib.import_module("deepfake.registry")
    print(deepfake.__file__, "whole")
except ImportError:
    print(deepfake.__file__, "part")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], cwd=cwd, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1]


@pytest.mark.skipif("deepfake" in packages_distributions(), reason="the package is installed")
def test_where_the_package_is_not_a_part_of_it_is_shipped(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "deepfake").mkdir()  # as above a checkout: Python takes it for a package
    shipped = folder / "code" / "shipped" / "deepfake" / "__init__.py"
    assert loaded_from(folder, tmp_path) == f"{shipped} part"


def test_where_the_package_is_it_is_not_hidden(folder: Path) -> None:
    assert loaded_from(folder, PROJECT) == f"{PROJECT / 'deepfake' / '__init__.py'} whole"


def test_a_version_of_before_is_loaded_as_ever(folder: Path, paths: list[Path], tmp_path: Path) -> None:
    for name in ("deepfake_model.h5", "detector.json"):
        shutil.copy(folder / name, tmp_path)
    assert Detector.load(tmp_path).predict(paths[0]) == Detector.load(folder).predict(paths[0])


def test_mlflow_models_serve(
    store: None, serve: Callable, free_port: Callable, folder: Path, paths: list[Path], tmp_path: Path
) -> None:
    port = str(free_port())
    address = f"http://127.0.0.1:{port}"

    def ask(*images: str) -> list[dict]:
        body = json.dumps({"dataframe_records": [{"image": image} for image in images]}).encode()
        request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request, timeout=30))["predictions"]

    command = ["mlflow", "models", "serve", "-m", CHAMPION, "--env-manager", "local", "--port", port]
    (tmp_path / "deepfake").mkdir()
    with serve(command, f"{address}/ping", tmp_path):
        expected = Detector.load(folder).predict(paths[0])
        (row,) = ask(as_text(paths[0]))
        assert row["p_fake"] == pytest.approx(expected.p_fake, abs=1e-6)
        assert (row["verdict"], row["threshold"], row["error"]) == (expected.verdict, expected.threshold, None)
        good, broken = ask(as_text(paths[0]), as_text(paths[1])[:400])
        assert good == row
        assert broken == {"verdict": None, "p_fake": None, "threshold": None, "error": broken["error"]}
        assert "a damaged or incomplete image" in broken["error"]
        assert ask("text")[0]["error"].startswith("not an image")
        assert ask(as_text(paths[0])) == [row]
