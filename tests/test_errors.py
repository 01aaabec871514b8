"""What the system refuses is one line."""

import errno
import os
from pathlib import Path

import pytest

from deepfake.errors import DeepfakeError, naming, told


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeepfakeError, match=f"{tmp_path}/file/below: Not a directory; .*DEEPFAKE_HOME"), told():
        (tmp_path / "file" / "below").mkdir()


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), told():
        (tmp_path / "nothing").read_text()


def test_of_a_full_disk_the_file_is_named_that_was_being_written(tmp_path: Path) -> None:
    full = tmp_path / "checkpoint.npz"
    with pytest.raises(DeepfakeError, match=f"{full}: No space left on device; free some space"), told(), naming(full):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
