"""`python app.py` says what is wrong, or serves."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deepfake.config import CONF


def test_no_model_yet_says_which_command_makes_one(new_home: Path) -> None:
    done = subprocess.run([sys.executable, "app.py"], cwd=CONF.parent, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("`python run.py` trains and registers one")
    assert len(done.stderr.strip().splitlines()) == 1


def test_help_answers_without_tensorflow_and_gradio() -> None:
    loaded = "import sys, app; sys.argv = ['app.py', '--help']\ntry:\n app.main()\nexcept SystemExit:\n pass\n"
    loaded += "print([name for name in ('tensorflow', 'gradio', 'mlflow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", loaded], cwd=CONF.parent, capture_output=True, text=True)
    assert done.stdout.strip().endswith("[]")
    assert "--model" in done.stdout


def test_it_serves_and_leaves_nothing_behind(
    finished_run: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Callable, free_port: Callable
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(CONF.parent))
    port = free_port()
    with serve(["app", "--port", str(port)], f"http://127.0.0.1:{port}/healthz", CONF.parent):
        assert list(tmp_path.glob("deepfake-uploads-*"))
    assert not list(tmp_path.glob("deepfake-uploads-*"))
