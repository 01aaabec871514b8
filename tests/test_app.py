"""The page, as its API and as a person in a browser meet it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import app
from deepfake.config import CONF
from deepfake.detector import Detector

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def served(finished_run: dict) -> Iterator[tuple[str, Detector]]:
    """The champion on a free port."""
    detector, name = app.load(None)
    page = app.build(detector, name)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, max_file_size=app.MAX_FILE_SIZE)
    yield url, detector
    page.close()


@pytest.fixture(scope="module")
def image(faces: Path) -> Path:
    return next((faces / "Test" / "Fake").iterdir())


@pytest.fixture
def predict(served: tuple[str, Detector]):
    from gradio_client import Client, handle_file

    client = Client(served[0], verbose=False)
    return lambda path: client.predict(handle_file(str(path)), api_name="/predict")


def test_the_api_says_what_the_detector_says(predict, served: tuple[str, Detector], image: Path) -> None:
    verdict, scores = predict(image)
    expected = served[1].predict(image)
    assert verdict.startswith(f"## {expected.verdict}\n")
    confidences = {row["label"]: row["confidence"] for row in scores["confidences"]}
    assert confidences == pytest.approx({"Real": 1 - expected.p_fake, "Fake": expected.p_fake}, abs=1e-6)


def test_bad_files_get_a_short_message_and_the_server_lives_on(predict, image: Path, tmp_path: Path) -> None:
    from gradio_client.exceptions import AppError

    bad = {
        "text.jpg": (b"just text", "not an image"),
        "empty.png": (b"", "empty"),
        "cut.png": (image.read_bytes()[:600], "damaged"),
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
    assert predict(image)


def test_a_16_bit_picture_is_read_as_training_reads_it(predict, served: tuple[str, Detector], tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 65535, (40, 40)).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    expected = served[1].predict(tmp_path / "deep.png").p_fake
    assert predict(tmp_path / "deep.png")[1]["confidences"][0]["confidence"] == pytest.approx(
        max(expected, 1 - expected)
    )


def test_the_page_says_what_it_serves(finished_run: dict) -> None:
    detector, name = app.load("1")
    text = app.describe(detector, name)
    assert "deepfake-detector version 1" in text
    assert f"AUC {finished_run['metrics']['test/auc']:.3f}" in text


def test_no_model_yet_says_which_command_makes_one(home: Path) -> None:
    done = subprocess.run([sys.executable, "app.py"], cwd=CONF.parent, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("`python run.py` trains and registers one")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, like `apt-get install chromium`")
def test_a_person_uploads_a_picture_and_reads_the_verdict(
    served: tuple[str, Detector], image: Path, tmp_path: Path
) -> None:
    from playwright.sync_api import sync_playwright

    url, detector = served
    expected = detector.predict(image)
    (tmp_path / "text.jpg").write_bytes(b"just text")
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page()
        page.goto(url)
        page.locator("#picture input[type=file]").first.set_input_files(image)
        page.locator("#picture img").first.wait_for()
        page.locator("#check").click()
        page.locator("#verdict").get_by_text("P(fake) is").wait_for()
        assert page.locator("#verdict h2").inner_text() == expected.verdict
        assert f"{expected.p_fake:.1%}" in page.locator("#verdict").inner_text()
        assert "deepfake-detector version 1" in page.locator("body").inner_text()
        if folder := os.environ.get("DEEPFAKE_SCREENSHOTS"):
            page.screenshot(path=f"{folder}/verdict.png", full_page=True)
        browser.close()
