"""What a person at the keyboard sees of the hub, with the real client, against a hub on loopback."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepfake.cli import app
from deepfake.detector import MODEL_FILE, Detector
from deepfake.space import bundle
from tests.space.conftest import ROOT, Hub, regular

Run = Callable[..., subprocess.CompletedProcess]


CODE = """
from pathlib import Path
from deepfake.cli import app, main
from deepfake.space.hub import Space
@app.command()
def push(name: str, folder: Path, private: bool = False):
    print(Space(name).push(folder, "Deploy", private))
main()
"""


@pytest.fixture
def pushing(hub: Hub, folder: Path) -> Callable[..., subprocess.Popen]:
    """Begin to push the folder, as `deploy` does after it has built one, which takes longer."""

    def start(name: str = "ada/faces", *options: str) -> subprocess.Popen:
        command = [sys.executable, "-c", CODE, "push", name, str(folder), *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=ROOT, env=hub.environment(), **pipes)

    return start


@pytest.fixture
def push(pushing: Callable[..., subprocess.Popen]) -> Run:
    """Push the folder."""

    def run(*arguments: str) -> subprocess.CompletedProcess:
        with pushing(*arguments) as process:
            told = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, *told)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small folder with a large file."""
    (tmp_path / "folder" / "deepfake").mkdir(parents=True)
    (tmp_path / "folder" / MODEL_FILE).write_bytes(b"model" * 100_000)
    (tmp_path / "folder" / "app.py").write_text("print('app')")
    (tmp_path / "folder" / "deepfake" / "__init__.py").touch()
    (tmp_path / "folder" / "README.md").write_text("---\ntitle: faces\n---\n# faces\n")
    return tmp_path / "folder"


def complaint(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def contents(folder: Path) -> dict[str, bytes]:
    return {path: (folder / path).read_bytes() for path in bundle.files(folder)}


def test_deployed_again_and_rolled_back(
    hub: Hub, deploy: Run, bundle_folder: Path, detector_folder: Path, other_detector: Path
) -> None:
    first = deploy("ada/faces")  # the champion
    assert first.returncode == 0, first.stderr
    assert f"{hub.url}/spaces/ada/faces" in first.stdout.splitlines()[-1]
    space = hub.spaces["ada/faces"]
    assert [commit.title for commit in space.commits[:1]] == ["initial commit"]
    assert space.at("main").contents() == contents(bundle_folder)
    assert space.at("main").tree[MODEL_FILE].lfs
    for path in bundle.files(bundle_folder):
        assert path in first.stdout

    space.add("by hand", space.at("main").tree | {"old.txt": regular(b"old")})
    second = deploy("ada/faces", "--model", other_detector)
    assert second.returncode == 0, second.stderr
    assert "Deleted there: old.txt" in second.stdout
    assert len(space.commits) == 4
    assert space.at("main").title == "Deploy cnn, run 0ther"
    assert space.at("main").tree.keys() == bundle.files(bundle_folder).keys()
    assert space.at("main").contents()[MODEL_FILE] == (other_detector / MODEL_FILE).read_bytes()

    sent = len([call for call in hub.calls if call.startswith("PUT")])
    back = deploy("ada/faces", "--rollback")
    assert back.returncode == 0, back.stderr
    assert back.stdout.strip().endswith("is again what it was after: by hand")
    assert len(space.commits) == 5
    assert space.at("main").contents() == space.commits[2].contents()
    assert space.at("main").contents()[MODEL_FILE] == (detector_folder / MODEL_FILE).read_bytes()
    assert len([call for call in hub.calls if call.startswith("PUT")]) == sent  # the model never left the hub

    assert deploy("ada/faces", "--rollback").returncode == 0
    assert space.at("main").contents() == space.commits[3].contents()


def test_the_same_again_makes_no_commit(hub: Hub, push: Run) -> None:
    assert push().returncode == 0
    before = len(hub.spaces["ada/faces"].commits)
    assert "changed=False" in push().stdout
    assert len(hub.spaces["ada/faces"].commits) == before


def test_private(hub: Hub, push: Run) -> None:
    assert push("ada/faces", "--private").returncode == 0
    assert hub.spaces["ada/faces"].private
    assert push().returncode == 0
    assert hub.spaces["ada/faces"].private


def test_what_is_public_is_not_taken_for_private(hub: Hub, push: Run) -> None:
    hub.make("ada/faces")
    assert "ada/faces is public: make it private" in complaint(push("ada/faces", "--private"))
    assert len(hub.spaces["ada/faces"].commits) == 1


def test_a_space_that_holds_something_else_is_left_alone(hub: Hub, push: Run) -> None:
    space = hub.make("ada/faces")
    space.add("my game", space.at("main").tree | {"game.py": regular(b"game")})
    assert "ada/faces holds something else" in complaint(push())
    assert space.at("main").title == "my game"


def test_nothing_to_go_back_to(hub: Hub, push: Run, deploy: Run) -> None:
    assert "ada/faces is not there" in complaint(deploy("ada/faces", "--rollback"))
    push()
    assert "nothing to go back to" in complaint(deploy("ada/faces", "--rollback"))
    assert len(hub.spaces["ada/faces"].commits) == 2


@pytest.mark.parametrize("name", ["faces", "ada/my/faces", "ada/-faces", "ada/fa ces", "ada/faces--2", ""])
def test_no_name_of_a_space(deploy: Run, hub: Hub, name: str) -> None:
    assert "a Space is named USER/SPACE" in complaint(deploy("--", name))
    assert not hub.calls


def test_no_token(deploy: Run, hub: Hub) -> None:
    assert "set HF_TOKEN or run `hf auth login`" in complaint(deploy("ada/faces", token=None))
    assert not hub.calls


def test_a_token_that_the_hub_does_not_know(deploy: Run, hub: Hub) -> None:
    assert "the hub does not know this token" in complaint(deploy("ada/faces", token="hf_bad"))
    assert not hub.spaces


@pytest.mark.parametrize("there", [False, True])
def test_the_space_of_somebody_else(hub: Hub, push: Run, there: bool) -> None:
    if there:
        hub.make("eve/faces")
    assert "the token may not write to it" in complaint(push("eve/faces"))
    assert not there or len(hub.spaces["eve/faces"].commits) == 1


def test_no_hub_is_known_at_once(deploy: Run, hub: Hub) -> None:
    hub.url = "http://127.0.0.1:9"
    started = time.monotonic()
    assert "check the network" in complaint(deploy("ada/faces"))
    assert time.monotonic() - started < 15  # the client's own retries take longer


def test_a_cut_while_the_model_is_sent_is_mended_by_itself(hub: Hub, push: Run, folder: Path) -> None:
    hub.cut = ["PUT"]
    done = push()
    assert done.returncode == 0, done.stderr
    assert not hub.cut
    assert hub.spaces["ada/faces"].at("main").contents() == contents(folder)


def test_after_a_cut_at_the_commit_the_second_try_completes(hub: Hub, push: Run, folder: Path) -> None:
    hub.cut = ["/commit/main"]
    assert "give the same command again" in complaint(push())
    assert len(hub.spaces["ada/faces"].commits) == 1
    hub.calls.clear()
    assert push().returncode == 0
    assert hub.spaces["ada/faces"].at("main").contents() == contents(folder)
    assert not [call for call in hub.calls if call.startswith("PUT")]  # the model had arrived already


def test_after_ctrl_c_while_the_model_is_sent_the_second_try_completes(
    hub: Hub, pushing: Callable[..., subprocess.Popen], push: Run, folder: Path
) -> None:
    hub.stall = ["PUT"]
    with pushing() as process:
        assert hub.stalled.wait(60)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "Traceback" not in told
    assert len(hub.spaces["ada/faces"].commits) == 1
    assert push().returncode == 0
    assert hub.spaces["ada/faces"].at("main").contents() == contents(folder)


def test_somebody_else_was_quicker(hub: Hub, push: Run, folder: Path) -> None:
    push()
    (folder / "app.py").write_text("print('new')")
    space = hub.spaces["ada/faces"]
    hub.before = {"/preupload/main": lambda: space.add("quicker", space.at("main").tree)}
    assert "changed by somebody else" in complaint(push())
    assert space.at("main").title == "quicker"
    assert push().returncode == 0
    assert space.at("main").contents() == contents(folder)


def test_a_dry_run_names_the_files_and_sends_none(
    deploy: Run, hub: Hub, finished_run: dict, bundle_folder: Path
) -> None:
    done = deploy("ada/faces", "--dry-run", token=None)
    assert done.returncode == 0, done.stderr
    assert finished_run["run_id"] in done.stdout
    for path, size in bundle.files(bundle_folder).items():
        assert any(line.split() == [path, f"{size:,}"] for line in done.stdout.splitlines()), path
    assert not hub.calls


def test_a_bundle_may_be_kept_here(other_detector: Path, bundle_folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["deploy", "ada/faces", f"--model={other_detector}", f"--to={tmp_path / 'to'}"])
    assert done.exit_code == 0, done.output
    assert "Nothing was sent" in done.output
    assert bundle.files(tmp_path / "to").keys() == bundle.files(bundle_folder).keys()
    assert Detector.load(tmp_path / "to").card.run_id == "0ther"


def test_rolling_back_goes_alone(deploy: Run, hub: Hub) -> None:
    assert "--rollback goes with no other option" in complaint(deploy("ada/faces", "--rollback", "--dry-run"))
    assert not hub.calls
