"""The requirements can be met on every Python that TensorFlow has wheels for, by their lowest and newest versions."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from deepfake.config import CONF

pytestmark = pytest.mark.faults

ROOT = CONF.parent
PYTHONS = ["3.11", "3.12", "3.13"]
SOURCE_ONLY = "antlr4-python3-runtime"  # of Hydra: pure Python, never published as a wheel


def resolve(python: str, *more: str) -> str:
    """Return the versions that an installer would take on a Python, all but one from wheels; or skip."""
    if not importlib.util.find_spec("uv"):
        pytest.skip("uv is not installed")
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", *more]
    command += ["--python-version", python, "--only-binary", ":all:", "--no-binary", SOURCE_ONLY]
    done = subprocess.run([*command, "requirements.txt"], cwd=ROOT, capture_output=True, text=True)
    if re.search("Failed to fetch|error sending request|dns error|Connect", done.stderr):
        pytest.skip("no package index answers")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("which", ["highest", "lowest-direct"])
@pytest.mark.parametrize("python", PYTHONS)
def test_the_requirements_can_be_met(python: str, which: str) -> None:
    found = resolve(python, "--resolution", which)
    assert re.search("^tensorflow==2.21.", found, re.MULTILINE)


def test_the_lower_bounds_are_those_that_are_installed() -> None:
    """A bound that the other requirements lift says nothing, and nobody has tested it."""
    found = dict(line.split("==") for line in resolve("3.11", "--resolution", "lowest-direct").splitlines())
    bounds = re.findall(r"^([a-z0-9-]+)>=([\d.]+)", Path(ROOT, "requirements.txt").read_text(), re.MULTILINE)
    assert len(bounds) > 20
    assert {name: found[name] for name, bound in bounds if not f"{found[name]}.".startswith(f"{bound}.")} == {}


def test_no_other_python_is_promised() -> None:
    promised = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"])
    assert list(promised.filter(f"3.{minor}" for minor in range(30))) == PYTHONS
