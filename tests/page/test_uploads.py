"""What visitors send is deleted when it is answered, also where two send the same."""

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
