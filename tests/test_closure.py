"""The files that a part of the package needs are those that Python loads for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from deepfake.closure import files
from deepfake.config import PROJECT


@pytest.mark.parametrize("module", ["deepfake.errors", "deepfake.detector", "deepfake.registry", "deepfake.cli"])
def test_the_files_are_those_that_are_loaded(module: str) -> None:
    program = f"import sys, {module}; print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('deepfake')))"
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert files(module) == sorted(Path(file).relative_to(PROJECT) for file in done.stdout.split())


def test_of_several_modules_each_file_is_named_once() -> None:
    together = files("deepfake.detector", "deepfake.errors", "deepfake.threads")
    assert together == files("deepfake.detector")
    assert all((PROJECT / file).is_file() for file in together)
