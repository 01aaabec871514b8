"""`python -m deepfake predict`: images, folders judged together, and videos."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.special import expit, logit
from typer.testing import CliRunner, Result

from deepfake import registry
from deepfake.cli import app
from deepfake.config import PROJECT
from deepfake.console import err, out
from deepfake.detector import Detector, write
from deepfake.errors import DeepfakeError

EXAMPLES = PROJECT / "deepfake" / "page" / "examples"


@pytest.fixture(scope="module")
def model(finished_run: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector that knows how faces lay in its training pictures."""
    found = Detector.load(registry.fetch(f"runs:/{finished_run['run_id']}/model"))
    framing = {"size": 0.6, "x": 0.5, "y": 0.5, "found": 1}
    folder = tmp_path_factory.mktemp("model")
    write(folder, found.model, replace(found.card, framing=framing))
    return folder


@pytest.fixture
def predict(model: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`python -m deepfake predict ...` into a pipe; in this process, which is quicker."""
    for console in (out, err):
        monkeypatch.setattr(console, "width", 10_000)
    arguments = ["predict", "--model", str(model)]
    return lambda *paths: CliRunner().invoke(app, [*arguments, *map(str, paths)], catch_exceptions=False)


@pytest.fixture
def folder(tmp_path: Path, faces: Path) -> Path:
    """Two folders of images, of which one is broken, and two videos, of which one has no face in it."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for path in sorted((faces / "Test" / "Fake").iterdir())[:4]:
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
    (tmp_path / "b" / "0009.png").write_bytes(b"text")
    film(tmp_path / "b" / "talk.avi", cv2.imread(str(EXAMPLES / "1-real.jpg")))
    film(tmp_path / "wall.avi", np.zeros((96, 96, 3), np.uint8))
    return tmp_path


def film(path: Path, picture: np.ndarray) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (640, 360))
    for left in range(100, 300, 10):
        room = np.full((360, 640, 3), 120, np.uint8)
        room[80:280, left : left + 200] = cv2.resize(picture, (200, 200))
        writer.write(room)
    writer.release()


def pooled(rows: list[dict]) -> float:
    return expit(logit([float(row["p_fake"]) for row in rows]).mean())


def test_a_folder_is_judged_together(predict: Callable, folder: Path) -> None:
    singly = [json.loads(line) for line in predict(folder / "a", "--json").stdout.splitlines()]
    done = predict(folder / "a", folder / "b", "--group-by", "folder", "--frames", 4, "--json")
    video, first, second = [json.loads(line) for line in done.stdout.splitlines()]
    assert first["p_fake"] == second["p_fake"] == pytest.approx(pooled(singly), abs=1e-5)
    assert first["spread"] == pytest.approx(np.std([row["p_fake"] for row in singly]), abs=1e-5)
    assert (first["path"], first["images"]) == (str(folder / "a"), 4)
    assert (second["path"], second["images"]) == (str(folder / "b"), 4)  # without the broken one
    assert (video["path"], video["images"]) == (str(folder / "b" / "talk.avi"), 4)
    assert done.stderr.splitlines() == [f"{folder / 'b' / '0009.png'}: {error_of(predict, folder / 'b' / '0009.png')}"]


def error_of(predict: Callable, path: Path) -> str:
    return json.loads(predict(path, "--json").stdout)["error"]


def test_a_folder_is_judged_together_in_several_views(predict: Callable, folder: Path) -> None:
    singly = [json.loads(line) for line in predict(folder / "a", "--tta", "--json").stdout.splitlines()]
    (row,) = list(csv.DictReader(io.StringIO(predict(folder / "a", "--group-by", "folder", "--tta", "--csv").stdout)))
    assert float(row["p_fake"]) == pytest.approx(pooled(singly), abs=1e-5)


def test_a_folder_of_which_nothing_can_be_read_is_a_row_that_says_so(predict: Callable, folder: Path) -> None:
    row = json.loads(predict(folder / "b" / "0009.png", "--group-by", "folder", "--json").stdout)
    assert (row["images"], row["p_fake"], row["error"]) == (0, None, "none of its 1 images can be read")


def test_images_and_videos_are_judged_in_one_call(predict: Callable, folder: Path) -> None:
    (folder / "damaged.mp4").write_bytes(b"text")
    done = predict(folder, "--frames", 8)
    lines = done.stdout.splitlines()
    (talk,) = [line.split() for line in lines if "talk.avi " in line]
    assert talk[1] == "8"
    assert talk[-1] in ("Real", "Fake", "Unsure")
    assert f"{folder}/b/talk.avi, frame by frame" in lines
    shown = [line.split() for line in lines[lines.index(f"{folder}/b/talk.avi, frame by frame") + 1 :][:2]]
    assert [line[::3] for line in shown] == [
        ["0:00.1", "0:00.6", "0:01.1", "0:01.6"],
        ["0:00.3", "0:00.8", "0:01.3", "0:01.8"],
    ]
    assert "A probability, not evidence" in lines[-1]
    told = sorted(done.stderr.splitlines())
    assert len(told) == 3
    assert told[0].startswith(f"{folder}/b/0009.png: not an image")
    assert told[1].startswith(f"{folder}/damaged.mp4: not a video")
    assert told[2] == f"{folder}/wall.avi: no face was found, so its frames are judged whole"


def test_csv_has_a_row_for_a_video_and_one_for_each_frame(predict: Callable, folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(predict(folder / "b" / "talk.avi", "--frames", 5, "--csv").stdout)))
    whole, *frames = rows
    assert (whole["images"], whole["seconds"]) == ("5", "")
    assert [(row["images"], row["seconds"]) for row in frames] == [
        ("1", f"0.{n}" if n < 10 else f"1.{n - 10}") for n in (2, 6, 10, 14, 18)
    ]
    assert float(whole["p_fake"]) == pytest.approx(pooled(frames), abs=1e-5)
    assert {row["path"] for row in rows} == {str(folder / "b" / "talk.avi")}


def test_json_tells_of_a_video_frame_by_frame(predict: Callable, folder: Path) -> None:
    row = json.loads(predict(folder / "b" / "talk.avi", "--frames", 5, "--json").stdout)
    assert (row["images"], row["sampled"], row["with_face"]) == (5, 5, 5)
    assert [frame["seconds"] for frame in row["frames"]] == pytest.approx([0.2, 0.6, 1.0, 1.4, 1.8])
    assert row["p_fake"] == pytest.approx(pooled(row["frames"]), abs=1e-5)
    assert "frames" not in json.loads(predict(EXAMPLES / "1-real.jpg", "--json").stdout)


def test_each_video_is_drawn(predict: Callable, folder: Path, tmp_path: Path) -> None:
    other = folder / "a" / "talk.avi"
    other.write_bytes((folder / "b" / "talk.avi").read_bytes())
    predict(folder, "--frames", 3, "--out", tmp_path / "plots")
    drawn = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert drawn == ["2-talk.avi.png", "talk.avi.png", "wall.avi.png"]
    assert cv2.imread(str(tmp_path / "plots" / "wall.avi.png")).shape == (440, 924, 3)
    with pytest.raises(DeepfakeError, match="there are none"):
        predict(EXAMPLES / "1-real.jpg", "--out", tmp_path / "plots")
