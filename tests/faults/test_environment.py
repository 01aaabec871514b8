"""Poor machines: few cores, little memory, no network, odd locales and paths, folders that are not ours to write in."""

import csv
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deepfake.config import CONF
from deepfake.data import synthetic

pytestmark = pytest.mark.faults

ROOT = CONF.parent
SMOKE = ["run.py", "experiment=smoke"]
UNSET = ("DISPLAY", "MPLBACKEND", "TMPDIR", "MLFLOW_TRACKING_URI", "LANG", "LC_ALL", "LC_CTYPE", "PYTHONUTF8")
# Root may write everywhere. Somebody may read everything, and write where everybody may.
SOMEBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
SOMEBODY += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
SOMEBODY = SOMEBODY if os.geteuid() == 0 else []
# RLIMIT_DATA, which needs no rights: the memory that a process asks for to write in, which is more than a cgroup would
# count, what it has written in. RLIMIT_AS would also count the libraries and files that TensorFlow maps.
FOUR_GB = ["prlimit", f"--data={4 * 2**30}"]


def typed(arguments: list[str], before: list[str] = (), cwd: Path = ROOT, **environment: str):
    """Run a command as a person types it, on a machine without a GPU and a display."""
    clean = {key: value for key, value in os.environ.items() if key not in UNSET}
    environment = clean | {"CUDA_VISIBLE_DEVICES": ""} | environment
    command = [*before, sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, errors="surrogateescape")


def assert_works(done: subprocess.CompletedProcess) -> None:
    """A whole run, and nothing on the terminal that is no news."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "Test AUC" in done.stdout


def assert_refused(done: subprocess.CompletedProcess, *words: str) -> None:
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.lower().startswith("error: ")
    assert [word for word in words if word not in done.stderr] == []


def cannot(*command: str) -> bool:
    return not shutil.which(command[0]) or subprocess.run([*command, "true"], capture_output=True).returncode != 0


def belongs_to_somebody(folder: Path) -> Path:
    if SOMEBODY:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, 65534, 65534)
    return folder


def is_read_only(folder: Path) -> Path:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    return folder


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that others can reach, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The faces of experiment=smoke."""
    return synthetic.make(tmp_path_factory.mktemp("drawn") / "synthetic-60-0", 60, 0)


@pytest.fixture
def at(drawn: Path) -> Callable[[Path], Path]:
    """Make a home with the faces in it."""

    def make(home: Path) -> Path:
        shutil.copytree(drawn, home / "data" / drawn.name)
        return home

    return make


@pytest.fixture
def checkout() -> Callable[[Path], Path]:
    """Make a copy of the project."""

    def make(folder: Path) -> Path:
        for name in ("conf", "deepfake"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("run.py", "app.py", "requirements.txt"):
            shutil.copy(ROOT / name, folder)
        return folder

    return make


@pytest.mark.parametrize("before", [["taskset", "-c", "0"], FOUR_GB, ["unshare", "--net"]], ids=["core", "4GB", "net"])
def test_one_core_or_little_memory_or_no_network(at: Callable, tmp_path: Path, before: list[str]) -> None:
    if cannot(*before):
        pytest.skip(f"{before[0]} is not there, or not allowed")
    assert_works(typed(SMOKE, before, DEEPFAKE_HOME=str(at(tmp_path / "home")), TMPDIR="/not/there"))


def test_spaces_and_letters_in_every_path(at: Callable, checkout: Callable, tmp_path: Path) -> None:
    project, home = checkout(tmp_path / "mein Prüfling 顔"), at(tmp_path / "les données d'été и всё")
    where = {"cwd": project, "DEEPFAKE_HOME": str(home)}
    assert_works(typed([*SMOKE, "tracking.register=true"], **where))
    assert "1 champion" in typed(["-m", "deepfake", "runs"], **where).stdout
    real = home / "data" / "synthetic-60-0" / "Test" / "Real"
    rows = list(csv.DictReader(io.StringIO(typed(["-m", "deepfake", "predict", str(real), "--csv"], **where).stdout)))
    assert {Path(row["path"]).parent for row in rows} == {real}
    assert all(row["verdict"] for row in rows)


def test_a_store_is_not_made_where_nobody_looks_for_it(at: Callable, tmp_path: Path) -> None:
    home = at(tmp_path / "100%20real?")
    assert_refused(typed(SMOKE, DEEPFAKE_HOME=str(home)), str(home), "DEEPFAKE_HOME")
    assert os.listdir(tmp_path) == [home.name]


LOCALES = {
    "C": {"LC_ALL": "C"},
    "really C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},  # Python makes UTF-8 of it otherwise
    "terminal": {"PYTHONIOENCODING": "ascii"},
}


@pytest.mark.parametrize("locale", LOCALES)
def test_names_in_any_script_in_any_locale(drawn: Path, at: Callable, tmp_path: Path, locale: str) -> None:
    """Also one that is not valid UTF-8, of an image that is there twice, which is told."""
    faces = Path(shutil.copytree(drawn, tmp_path / "faces"))
    (faces / "groups.csv").unlink()
    for path in faces.glob("*/*/*.jpg"):
        path.rename(path.with_name(f"顔_{path.name}"))
    strange = os.fsdecode(b"Stra\xdfe.jpg")
    shutil.copy(next(faces.glob("Train/Real/*.jpg")), faces / "Test" / "Real" / strange)
    environment = LOCALES[locale] | {"DEEPFAKE_HOME": str(tmp_path / "home")}
    small = ["dataset=folder", f"dataset.root={faces}", "dataset.image_size=32", "trainer.epochs=1"]
    assert_works(typed(["run.py", *small, "model.filters=[4]"], **environment))
    [told] = (tmp_path / "home").glob("mlruns/artifacts/*/artifacts/predictions.csv")
    assert strange in told.read_text("utf-8", "surrogateescape")
    [card] = (tmp_path / "home").glob("mlruns/artifacts/*/artifacts/model/model_card.md")
    assert "Stra\ufffde.jpg" in card.read_text("utf-8")
    done = typed(["-m", "deepfake", "predict", str(faces / "Test" / "Real"), "--csv"], **environment)
    assert done.returncode == 0, done.stderr
    assert strange in done.stdout


def test_a_home_and_a_project_that_are_read_only(at: Callable, checkout: Callable, open_to_all: Path) -> None:
    """All that is written lies in DEEPFAKE_HOME."""
    project = is_read_only(checkout(open_to_all / "project"))
    before = sorted(project.rglob("*"))
    home = belongs_to_somebody(at(open_to_all / "home"))
    where = {"cwd": project, "HOME": str(project), "DEEPFAKE_HOME": str(home)}
    assert_works(typed(SMOKE, SOMEBODY, **where))
    for command in (["run.py", "--help"], ["-m", "deepfake", "runs"]):
        done = typed(command, SOMEBODY, **where)
        assert (done.returncode, done.stderr) == (0, "")
    assert sorted(project.rglob("*")) == before


COMMANDS = {
    "run": SMOKE,
    "sweep": ["run.py", "-m", "experiment=smoke", "seed=1,2"],
    "runs": ["-m", "deepfake", "runs"],
    "predict": ["-m", "deepfake", "predict", "."],
    "page": ["app.py"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_place_to_write_in(checkout: Callable, open_to_all: Path, command: str) -> None:
    project = is_read_only(checkout(open_to_all / "project"))
    done = typed(COMMANDS[command], SOMEBODY, cwd=project, HOME="/not/there", DEEPFAKE_HOME="")
    assert_refused(done, f"{project}/mlruns", "DEEPFAKE_HOME")


def test_data_that_are_read_only(at: Callable, open_to_all: Path) -> None:
    home = belongs_to_somebody(at(open_to_all / "home"))
    is_read_only(home / "data")
    assert_refused(typed(SMOKE, SOMEBODY, DEEPFAKE_HOME=str(home)), f"{home}/data/cache", "DEEPFAKE_HOME")


@pytest.mark.parametrize("what", ["mlflow.db", "artifacts"])
def test_runs_of_somebody_else(at: Callable, open_to_all: Path, what: str) -> None:
    """As after one run as root."""
    home = belongs_to_somebody(at(open_to_all / "home"))
    assert_works(typed(SMOKE, SOMEBODY, DEEPFAKE_HOME=str(home)))
    is_read_only(home / "mlruns" / what)
    done = typed([*SMOKE, "seed=1"], SOMEBODY, DEEPFAKE_HOME=str(home))
    assert_refused(done, f"{home}/mlruns/{what}", "DEEPFAKE_HOME")


def test_a_file_where_the_home_should_be(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    assert_refused(typed(SMOKE, DEEPFAKE_HOME=str(tmp_path / "home")), f"{tmp_path}/home", "Not a directory")
