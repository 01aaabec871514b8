"""The embedded faces: reproducible, in the usual layout, and told apart by nothing but the faces."""

import csv
import io
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from deepfake.data import synthetic
from deepfake.data.synthetic import CLASSES, SIDE, draw_pair, make
from deepfake.errors import DataError


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("data") / "faces", images=300, seed=0)


@pytest.fixture(scope="module")
def jpegs(faces: Path) -> dict[str, list[bytes]]:
    return {name: [path.read_bytes() for path in sorted(faces.glob(f"*/{name}/*.jpg"))] for name in CLASSES}


def decode(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)))


def grey(jpeg: bytes) -> np.ndarray:
    return cv2.cvtColor(decode(jpeg), cv2.COLOR_RGB2GRAY).astype(np.float32)


def border(jpeg: bytes) -> np.ndarray:
    outside = np.ones((SIDE, SIDE), bool)
    outside[8:-8, 8:-8] = False
    return grey(jpeg)[outside]


def tables(jpeg: bytes) -> int:
    return sum(sum(table) for table in Image.open(io.BytesIO(jpeg)).quantization.values())


CUES: dict[str, Callable[[bytes], float]] = {
    "red": lambda jpeg: decode(jpeg)[..., 0].mean(),
    "green": lambda jpeg: decode(jpeg)[..., 1].mean(),
    "blue": lambda jpeg: decode(jpeg)[..., 2].mean(),
    "brightness": lambda jpeg: grey(jpeg).mean(),
    "contrast": lambda jpeg: grey(jpeg).std(),
    "saturation": lambda jpeg: cv2.cvtColor(decode(jpeg), cv2.COLOR_RGB2HSV)[..., 1].mean(),
    "sharpness": lambda jpeg: cv2.Laplacian(grey(jpeg), cv2.CV_32F).var(),
    "noise": lambda jpeg: (grey(jpeg) - cv2.GaussianBlur(grey(jpeg), None, 1)).std(),
    "file size": len,
    "width": lambda jpeg: decode(jpeg).shape[1],
    "height": lambda jpeg: decode(jpeg).shape[0],
    "JPEG quality": tables,
    "border brightness": lambda jpeg: border(jpeg).mean(),
    "border contrast": lambda jpeg: border(jpeg).std(),
}


def auc(cue: Callable[[bytes], float], jpegs: dict[str, list[bytes]]) -> float:
    scores = [cue(jpeg) for name in CLASSES for jpeg in jpegs[name]]
    return roc_auc_score(np.repeat([0, 1], [len(jpegs[name]) for name in CLASSES]), scores)


@pytest.mark.parametrize("cue", CUES)
def test_no_trivial_cue_tells_fakes(cue: str, jpegs: dict[str, list[bytes]]) -> None:
    assert 0.40 <= auc(CUES[cue], jpegs) <= 0.60


def test_the_tint_of_the_face_against_its_surroundings_tells_fakes(jpegs: dict[str, list[bytes]]) -> None:
    def mismatch(jpeg: bytes) -> float:
        greenness = decode(jpeg).astype(float) @ (-0.5, 1, -0.5)
        face, neck = greenness[38:62, 38:58], greenness[76:86, 38:58]
        return face.mean() - neck.mean()

    assert 0.7 < auc(mismatch, jpegs) < 1


def test_images_are_shared_out_4_to_1_to_1(faces: Path) -> None:
    for split, count in {"Train": 200, "Validation": 50, "Test": 50}.items():
        for name in CLASSES:
            paths = list((faces / split / name).iterdir())
            assert len(paths) == count
            with Image.open(paths[0]) as image:
                assert image.size == (SIDE, SIDE)
    assert "proves nothing about real deepfakes" in (faces / "README.md").read_text()


def test_a_fake_and_its_real_share_a_group_and_a_split(faces: Path) -> None:
    with (faces / "groups.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert {row["path"] for row in rows} == {path.relative_to(faces).as_posix() for path in faces.glob("*/*/*.jpg")}
    members = defaultdict(list)
    for row in rows:
        members[row["group"]].append(row["path"].split("/"))
    for paths in members.values():
        assert len({split for split, _, _ in paths}) == 1
        assert [name for _, name, _ in paths] == ["Real", "Fake"]


def test_an_image_follows_from_the_seed_and_its_number(faces: Path, tmp_path: Path) -> None:
    again = make(tmp_path / "again", images=20, seed=0)
    other = make(tmp_path / "other", images=20, seed=1)
    for number in range(14):
        for name, jpeg in zip(CLASSES, draw_pair(0, number), strict=True):
            path = f"Train/{name}/{number:05d}.jpg"
            assert (faces / path).read_bytes() == (again / path).read_bytes() == jpeg
            assert (other / path).read_bytes() != jpeg


def test_what_is_there_is_not_drawn_again(faces: Path) -> None:
    before = (faces / "groups.csv").stat().st_mtime_ns
    assert make(faces, images=300, seed=0) == faces
    assert (faces / "groups.csv").stat().st_mtime_ns == before


def test_what_was_drawn_otherwise_is_not_touched(faces: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds something else"):
        make(faces, images=300, seed=1)
    with pytest.raises(DataError, match="holds something else"):
        make(tmp_path, images=20, seed=0)


def test_a_drawing_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "WORKER", "raise SystemExit(1)")
    with pytest.raises(DataError, match="could not be drawn"):
        make(tmp_path / "faces", images=20, seed=0)
    assert list(tmp_path.iterdir()) == []
