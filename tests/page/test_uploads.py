"""What visitors send is deleted when it is answered, also where two send the same."""

import os
from pathlib import Path

import pytest

from deepfake.page.uploads import Uploads, paths


def sent(uploads: Uploads, folder: Path, name: str = "a.jpg") -> Path:
    """Gradio has received a file."""
    path = folder / name
    path.write_bytes(b"a picture")
    uploads.update([path])
    return path


def test_a_file_is_deleted_when_it_is_answered(tmp_path: Path) -> None:
    uploads = Uploads()
    path = sent(uploads, tmp_path)
    with uploads.answered(path):
        assert path.is_file()
    assert not path.exists()
    assert not uploads


def test_also_if_the_answer_fails(tmp_path: Path) -> None:
    uploads = Uploads()
    path = sent(uploads, tmp_path)
    with pytest.raises(RuntimeError), uploads.answered(path):
        raise RuntimeError
    assert not path.exists()


def test_two_who_send_the_same_picture_are_both_answered(tmp_path: Path) -> None:
    uploads = Uploads()
    path = sent(uploads, tmp_path)
    sent(uploads, tmp_path)  # Gradio names files by their content
    with uploads.answered(path):
        pass
    assert path.is_file()
    with uploads.answered(path):
        pass
    assert not path.exists()


def test_what_nobody_sent_stays(tmp_path: Path) -> None:
    example = tmp_path / "example.jpg"
    example.touch()
    with Uploads().answered(example):
        pass
    assert example.is_file()


def test_the_paths_of_what_a_component_sent() -> None:
    assert paths(None) == paths([]) == paths({"path": None}) == []
    assert paths({"path": "/a"}) == paths([{"path": "/a"}]) == [Path("/a")]


def test_what_was_broken_off_or_never_asked_about_goes_with_its_folder(tmp_path: Path) -> None:
    uploads = Uploads()
    for name in ("never asked", "asked"):
        (tmp_path / name).mkdir()
        sent(uploads, tmp_path / name)
    (tmp_path / "tmp1234").write_bytes(b"half a pict")
    age(tmp_path)
    (tmp_path / "fresh").touch()
    with uploads.answered(tmp_path / "asked" / "a.jpg"):
        uploads.sweep(tmp_path)
        assert left(tmp_path) == {"asked", "asked/a.jpg", "fresh", "never asked"}
    age(tmp_path)
    uploads.sweep(tmp_path)
    assert left(tmp_path) == set()
    assert not uploads


def age(folder: Path) -> None:
    """Let an hour go by."""
    for path in folder.rglob("*"):
        os.utime(path, (0, 0))


def left(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
