"""The page as a person meets it, in a browser."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CHROMIUM
from tests.page.conftest import Served

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, like `apt-get install chromium`")


COPY = """async () => {
    const drawing = new OffscreenCanvas(64, 64);
    drawing.getContext("2d").fillRect(8, 8, 40, 40);
    const picture = await drawing.convertToBlob({type: "image/png"});
    await navigator.clipboard.write([new ClipboardItem({"image/png": picture})]);
}"""


@pytest.fixture
def page(browser, served: Served) -> Iterator:
    """The page, opened; it asks nobody else for anything."""
    opened = browser.new_page()
    elsewhere = []
    opened.on("request", lambda request: elsewhere.append(request.url) if served.url not in request.url else None)
    opened.goto(served.url)
    opened.locator(".gallery-item").nth(5).wait_for()
    opened.wait_for_timeout(1000)  # what is there takes its final shape, and hears of clicks, a moment later
    opened.bring_to_front()
    yield opened
    assert [url for url in elsewhere if not url.startswith(("data:", "blob:"))] == []
    if folder := os.environ.get("DEEPFAKE_SCREENSHOTS"):
        name = os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split(" ")[0]
        opened.screenshot(path=f"{folder}/{name}.png", full_page=True)
    opened.close()


def send(page, path: Path) -> None:
    page.locator("#picture input[type=file]").first.set_input_files(path)


def test_a_person_uploads_a_picture_and_reads_the_verdict(page, served: Served, fake: Path) -> None:
    expected = served.detector.predict(fake)
    send(page, fake)
    page.locator(".df-verdict").wait_for()
    assert page.locator(".df-verdict strong").inner_text() == expected.verdict
    assert f"{expected.p_fake:.1%}" in page.locator("#answer").inner_text()
    assert "deepfake-detector version 1" in page.locator("#about").inner_text()
    assert served.files() == []
    page.locator("#picture").get_by_text("Drop Image Here").wait_for()  # ready for the next one


def test_the_heat_map_fades_with_its_slider(page, fake: Path) -> None:
    send(page, fake)
    slider = page.locator(".df-slider input")
    slider.focus()
    slider.press("Home")  # from the keyboard
    assert page.locator(".df-heat").evaluate("heat => getComputedStyle(heat).opacity") == "0"
    slider.press("End")
    assert page.locator(".df-heat").evaluate("heat => getComputedStyle(heat).opacity") == "1"


def test_an_example_is_a_click_away_again_and_again(page) -> None:
    for number in (0, 1, 0):
        page.locator(".gallery-item").nth(number).click()
        page.locator(".df-verdict").wait_for()
        page.locator("#picture").get_by_text("Drop Image Here").wait_for()


def test_what_is_wrong_with_a_file_is_said_in_place_and_the_next_is_judged(page, fake: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_bytes(b"just text")
    send(page, tmp_path / "text.jpg")
    page.get_by_role("alert").get_by_text("not an image").wait_for()
    page.locator("#picture").get_by_text("Drop Image Here").wait_for()
    send(page, fake)
    page.locator(".df-verdict").wait_for()


def test_several_pictures_become_a_table_that_can_be_saved(page, served: Served, faces: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_bytes(b"just text")
    files = [*sorted((faces / "Test" / "Real").iterdir())[:20], tmp_path / "text.jpg"]
    page.get_by_role("tab", name="Several pictures").click()
    page.locator("#pictures input[type=file]").first.set_input_files(files)
    page.locator("#table tbody tr").nth(20).wait_for()
    verdicts = [served.detector.predict(file).verdict for file in files[:20]]
    shown = page.locator("#table tbody tr td:first-of-type").all_inner_texts()
    assert [text.split()[-1] for text in shown[:20]] == verdicts
    assert "not an image" in shown[20]
    with page.expect_download() as saved:
        page.locator(".df-save").click()
    assert len(Path(saved.value.path()).read_text().splitlines()) == 22
    assert served.files() == []


def test_another_model_can_be_chosen(page, fake: Path) -> None:
    page.locator("#model input").click()
    page.get_by_role("option", name="version 1,").click()
    send(page, fake)
    page.locator(".df-verdict").wait_for()


def test_a_picture_can_be_taken(page) -> None:
    page.context.grant_permissions(["camera"])
    page.get_by_label("Capture from camera").click()
    page.locator("#picture button", has_text="Click to Access Webcam").click()
    page.wait_for_function("() => document.querySelector('#picture video')?.videoWidth > 0")
    page.wait_for_timeout(500)
    page.get_by_label("capture photo").click()
    page.locator(".df-verdict").wait_for()


def test_a_picture_can_be_pasted(page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate(COPY)
    page.get_by_label("Paste from clipboard").click()
    page.locator(".df-verdict").wait_for()


def test_the_keyboard_is_enough(page, fake: Path) -> None:
    place = page.get_by_role("button", name="Drop an image file here to upload")
    choosers = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))  # noqa: PLW0108 - Playwright marks the function
    for _ in range(60):
        page.keyboard.press("Tab")
        if place.evaluate("place => place === document.activeElement"):
            page.keyboard.press("Enter")
            page.wait_for_timeout(500)
        if choosers:
            break
    choosers[0].set_files(fake)
    page.locator(".df-verdict").wait_for()


def test_it_fits_a_phone(browser, served: Served, fake: Path) -> None:
    phone = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme="dark")
    phone.goto(served.url)
    phone.locator("#picture input[type=file]").first.wait_for(state="attached")
    send(phone, fake)
    phone.locator(".df-verdict").wait_for()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    phone.close()
