"""The page as programs meet it, over HTTP."""

import urllib.error
import urllib.request
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from deepfake.page.layout import EXAMPLES
from tests.page.conftest import Served


@pytest.fixture(scope="module")
def predict(served: Served):
    client = Client(served.url, verbose=False)
    return lambda path: client.predict(handle_file(str(path)), api_name="/predict")


def test_a_program_gets_what_the_detector_says(predict, served: Served, fake: Path) -> None:
    told, expected = predict(fake), served.detector.predict(fake)
    assert told["verdict"] == expected.verdict
    assert told["p_fake"] == pytest.approx(expected.p_fake, abs=1e-6)
    assert told["confidences"] == pytest.approx({"Real": 1 - expected.p_fake, "Fake": expected.p_fake}, abs=1e-6)
    assert told["reason"] == expected.reason("Fake")
    assert told["model"] == "deepfake-detector version 1"


def test_what_was_sent_is_deleted_and_was_never_served(predict, served: Served, fake: Path) -> None:
    predict(fake)
    assert served.files() == []


def test_bad_files_get_a_short_message_and_the_page_lives_on(predict, served: Served, fake: Path, tmp_path) -> None:
    bad = {
        "text.jpg": (b"just text", "not an image"),
        "empty.png": (b"", "empty"),
        "cut.png": (fake.read_bytes()[:600], "damaged"),
        "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    }
    for name, (content, reason) in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AppError, match=reason) as caught:
            predict(tmp_path / name)
        assert "/" not in str(caught.value)
    Image.fromarray(np.zeros((9000, 9000), np.uint8)).save(tmp_path / "bomb.png")
    with pytest.raises(AppError, match="81 megapixels"):
        predict(tmp_path / "bomb.png")
    assert predict(fake)
    assert served.files() == []


def test_a_16_bit_picture_is_read_as_training_reads_it(predict, served: Served, tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 65535, (40, 40)).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    expected = served.detector.predict(tmp_path / "deep.png").p_fake
    assert predict(tmp_path / "deep.png")["p_fake"] == pytest.approx(expected, abs=1e-6)


def test_of_an_animation_the_first_frame_is_judged_and_that_is_said(predict, served: Served, tmp_path: Path) -> None:
    first, second = (Image.fromarray(np.full((40, 40, 3), grey, np.uint8)) for grey in (60, 200))
    first.save(tmp_path / "moving.gif", save_all=True, append_images=[second])
    told = predict(tmp_path / "moving.gif")
    assert told["notes"] == ["This file holds several pictures: only the first was looked at."]
    assert told["p_fake"] == pytest.approx(served.detector.predict(first).p_fake, abs=1e-6)


def ask(served: Served, path: str) -> str:
    """Ask for a verdict on a path that was not uploaded; return what the page answers."""
    api = f"{served.url}/gradio_api/call/predict"
    event = httpx.post(api, json={"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]}).json()["event_id"]
    return httpx.get(f"{api}/{event}", timeout=30).text


def test_an_address_in_place_of_a_picture_is_not_fetched(served: Served) -> None:
    assert "Send the picture itself" in ask(served, "https://example.com/face.jpg")


def test_a_file_of_the_server_is_neither_judged_nor_named(served: Served, fake: Path) -> None:
    told = ask(served, str(fake))
    assert told.startswith("event: error")
    assert str(fake) not in told


def test_it_says_when_it_is_ready(served: Served) -> None:
    with urllib.request.urlopen(f"{served.url}/healthz") as answer:
        assert answer.read() == b"ready"


def test_files_of_the_project_are_not_served_but_the_examples_are(served: Served) -> None:
    example = sorted(EXAMPLES.glob("*.jpg"))[0]
    with urllib.request.urlopen(f"{served.url}/gradio_api/file={example}") as answer:
        assert answer.read() == example.read_bytes()
    for path in (EXAMPLES.parent / "layout.py", EXAMPLES.parents[2] / "app.py"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{served.url}/gradio_api/file={path}")


def test_the_examples_are_this_project_s_own_drawings() -> None:
    from deepfake.data.synthetic import draw_pair

    for path in EXAMPLES.glob("*.jpg"):
        number, kind = path.stem.split("-")
        drawn = draw_pair(2026, int(number) - 1)[("real", "fake").index(kind)]
        shown = np.asarray(Image.open(path), float)
        assert np.abs(shown - np.asarray(Image.open(BytesIO(drawn)), float)).mean() < 2
