"""What the system refuses is one line."""

from pathlib import Path

import pytest

from deepfake.errors import DeepfakeError, told


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeepfakeError, match=f"{tmp_path}/file/below: Not a directory; .*DEEPFAKE_HOME"), told():
        (tmp_path / "file" / "below").mkdir()


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), told():
        (tmp_path / "nothing").read_text()
