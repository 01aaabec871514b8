"""What visitors send is deleted when it is answered, also where two send the same."""

import os
from pathlib import Path
from threading import Thread

import pytest

from deepfake.page.uploads import Uploads, paths


def sent(uploads: Uploads, folder: Path, name: str = "a.jpg") -> Path:
    """Gradio has received a file, whose folder it names by the content."""
    path = folder / "hash of the content" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"a picture")
    answer = [str(path)]
    uploads.update(answer)
    return Path(answer[0])


def test_a_file_is_deleted_when_it_is_answered(tmp_path: Path) -> None:
    uploads = Uploads()
    path = sent(uploads, tmp_path)
    with uploads.take([path]) as files:
        assert files == [path]
        assert path.is_file()
    assert not path.exists()
    assert not uploads


def test_also_if_the_answer_fails(tmp_path: Path) -> None:
    uploads = Uploads()
    path = sent(uploads, tmp_path)
    with pytest.raises(RuntimeError), uploads.take([path]):
        raise RuntimeError
    assert not path.exists()


def test_two_who_send_the_same_picture_do_not_share_it(tmp_path: Path) -> None:
    uploads = Uploads()
    first, second = sent(uploads, tmp_path), sent(uploads, tmp_path)
    assert first.name == second.name == "a.jpg"
    with uploads.take([first]):
        pass
    assert second.read_bytes() == b"a picture"
    with uploads.take([second]):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_is_taken_is_not_given_twice(tmp_path: Path) -> None:
    uploads = Uploads()
    path = sent(uploads, tmp_path)
    with uploads.take([path]), uploads.take([path]) as again:
        assert again == []
    with uploads.take([path]) as later:
        assert later == []


def test_what_nobody_sent_stays(tmp_path: Path) -> None:
    example = tmp_path / "example.jpg"
    example.touch()
    with Uploads().take([example]) as files:
        assert files == []
    assert example.is_file()


def test_the_paths_of_what_a_component_sent() -> None:
    assert paths(None) == paths([]) == paths({"path": None}) == []
    assert paths({"path": "/a"}) == paths([{"path": "/a"}]) == [Path("/a")]


def test_what_was_broken_off_or_never_asked_about_goes_with_its_folder(tmp_path: Path) -> None:
    uploads = Uploads()
    never, asked = sent(uploads, tmp_path), sent(uploads, tmp_path)
    (tmp_path / "tmp1234").write_bytes(b"half a pict")
    age(tmp_path)
    (tmp_path / "fresh").touch()
    with uploads.take([asked]):
        uploads.sweep(tmp_path)
        assert left(tmp_path) == {asked, asked.parent, tmp_path / "fresh"}
        assert never not in left(tmp_path)
    age(tmp_path)
    uploads.sweep(tmp_path)
    assert left(tmp_path) == set()
    assert not uploads


def test_folders_that_come_and_go_meanwhile_do_not_end_it(tmp_path: Path) -> None:
    def come_and_go() -> None:
        for number in range(3000):
            folder = tmp_path / str(number % 50)
            folder.rmdir() if folder.exists() else folder.mkdir()

    visitors = Thread(target=come_and_go)
    visitors.start()
    while visitors.is_alive():
        Uploads().sweep(tmp_path)


def age(folder: Path) -> None:
    """Let an hour go by."""
    for path in folder.rglob("*"):
        os.utime(path, (0, 0))


def left(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))
