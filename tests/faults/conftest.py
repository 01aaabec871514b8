"""What the fault tests share: commands as they are typed, each in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deepfake.config import CONF

ROOT = CONF.parent


@pytest.fixture
def start(home: Path) -> Callable[..., subprocess.Popen]:
    """Begin `python ARGUMENTS` in the project, its output in pipes."""

    def begin(*arguments: str, **environment: str) -> subprocess.Popen:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=os.environ | environment, start_new_session=True, **pipes
        )

    return begin


@pytest.fixture
def typed(start: Callable[..., subprocess.Popen]) -> Callable[..., subprocess.CompletedProcess]:
    """Run `python ARGUMENTS` in the project to its end."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
        with start(*arguments, **environment) as process:
            stdout, stderr = process.communicate(timeout=500)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    return run


@pytest.fixture
def home(new_home: Path) -> Path:
    """A home for one test alone, in which nothing is yet: its beginning is part of what goes wrong."""
    return new_home
