"""The cache of decoded images is whole or made again, whatever ends, fills or races the process that writes it."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deepfake.data.cache import Geometry, decode, entries
from deepfake.data.index import scan
from deepfake.errors import DataError
from tests.faults.decoding import NOBODY, decoded, digest, outcome, start

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="made for systems with kill -9 and rights"),
]
needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount")


@pytest.fixture
def root(tmp_path: Path, make_faces: Callable[..., Path]) -> Path:
    return make_faces(tmp_path / "faces", {"Train": 4, "Validation": 1, "Test": 1})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="deepfake-"))
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        path.chmod(0o755)
    shutil.rmtree(folder)


def left_in(folder: Path) -> list[str]:
    """What lies in a folder of caches besides whole caches and their locks."""
    keys = {entry.key for entry in entries(folder) if entry.root}
    return [path.name for path in folder.iterdir() if path.suffix != ".lock" and path.name not in keys]


def holds(name: str, size: int) -> Callable[[Path], bool]:
    """A moment: the cache that is being made holds so much of a file."""

    def reached(folder: Path) -> bool:
        return any(path.stat().st_size >= size for path in folder.glob(f"*.partial/{name}"))

    return reached


def begun(folder: Path) -> bool:
    return any(folder.glob("*.partial"))


def locked(folder: Path) -> bool:
    return any(folder.glob("*.lock"))


@pytest.mark.parametrize(
    "moment",
    [
        *(locked, begun, holds("pixels.u8", 1), holds("pixels.u8", 900_000), holds("traits.npy", 0)),
        holds("meta.json", 0),
    ],
    ids=["locked", "begun", "first pixels", "half of the pixels", "all pixels", "almost done"],
)
def test_a_cache_whose_making_is_killed_is_made_again(
    tmp_path: Path, make_faces: Callable[..., Path], moment: Callable[[Path], bool]
) -> None:
    root = make_faces(tmp_path / "many", {"Train": 480, "Validation": 1, "Test": 1})
    (root / "Train" / "Real" / "broken.jpg").write_bytes(b"no image")
    whole = digest(decoded(root, tmp_path / "undisturbed"))
    folder = tmp_path / "cache"
    process = start(root, folder)
    while process.poll() is None and not moment(folder):
        time.sleep(0.0005)
    process.kill()
    process.communicate()
    assert process.returncode in (-signal.SIGKILL, 0)  # 0: it was faster than we
    again = decoded(root, folder)
    assert digest(again) == whole
    assert left_in(folder) == []
    assert [entry.images for entry in entries(folder)] == [len(again.files)] == [964]


@pytest.mark.parametrize("count", [2, 16])
def test_processes_that_start_at_once_decode_a_data_set_once(root: Path, folder: Path, count: int) -> None:
    processes = [start(root, folder, "--wait-for", str(folder.with_name("go"))) for _ in range(count)]
    time.sleep(5 + count)  # until all of them wait; some may come later, which changes nothing
    folder.with_name("go").touch()
    found = [outcome(process) for process in processes]
    assert sum(one["opened"] for one in found) == 12
    assert {one["digest"] for one in found} == {digest(decoded(root, folder))}
    assert len({tuple(one["written"]) for one in found}) == 1
    assert left_in(folder) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A disk of so many bytes, or the same one grown to as many."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(size: int) -> Path:
        again = ["-o", "remount"] if os.path.ismount(disk) else []
        done = subprocess.run(["mount", "-t", "tmpfs", *again, "-o", f"size={size}", "none", disk], capture_output=True)
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.decode()}")
        return disk

    yield mount
    if os.path.ismount(disk):
        subprocess.run(["umount", "--lazy", disk], check=True)


@needs_root
@pytest.mark.parametrize("free", [40_000, 72_000], ids=["too little for the pixels", "too little for what follows"])
def test_a_full_disk_is_one_clear_error_and_leaves_what_was_there(
    root: Path, tmp_path: Path, small_disk: Callable[[int], Path], free: int
) -> None:
    other = tmp_path / "other"
    shutil.copytree(root / "Train", other / "Train")
    before = digest(decoded(other, tmp_path / "elsewhere"))
    disk = small_disk(10**6)
    decoded(other, disk)
    (kept,) = entries(disk)
    taken = 10**6 // 4096 * 4096 - shutil.disk_usage(disk).free
    disk = small_disk(taken + free)
    for _ in range(2):
        with pytest.raises(DataError, match=f"^{disk}: decoded images .*cache clear") as caught:
            decode(root, scan(root, ["Real", "Fake"]), Geometry(24, "squash"), disk, limit=1.0)
        assert "\n" not in str(caught.value)
        assert left_in(disk) == []
        assert [entry.key for entry in entries(disk)] == [kept.key]
    assert digest(decoded(other, disk)) == before
    small_disk(10**6)
    assert digest(decoded(root, disk)) == digest(decoded(root, tmp_path / "elsewhere"))


def test_a_limit_on_the_size_of_files_is_one_clear_error(root: Path, folder: Path) -> None:
    found = outcome(start(root, folder, "--largest", "9000"))
    assert found["error"].startswith(f"{folder}: decoded images cannot be written there (File too large)")
    assert left_in(folder) == []
    assert digest(decoded(root, folder)) == digest(decoded(root, folder.with_name("elsewhere")))


@needs_root
def test_a_cache_that_may_not_be_written_is_one_clear_error_and_one_that_is_whole_is_used(
    root: Path, open_folder: Path
) -> None:
    shutil.copytree(root, open_folder / "faces")
    root, folder = open_folder / "faces", open_folder / "cache"
    found = outcome(start(root, folder, "--uid", str(NOBODY)))
    assert found["error"].startswith(f"{folder}: decoded images cannot be written there (Permission denied)")
    folder.mkdir()
    found = outcome(start(root, folder, "--uid", str(NOBODY)))
    assert found["error"].startswith(f"{folder}: decoded images cannot be written there (Permission denied)")
    assert list(folder.iterdir()) == []
    whole = digest(decoded(root, folder))
    found = outcome(start(root, folder, "--uid", str(NOBODY)))
    assert found["digest"] == whole
    assert found["opened"] == 0
