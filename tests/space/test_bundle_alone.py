"""A bundle in an environment of its own, made from its own requirements, as the hub makes it; minutes of it."""

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from gradio_client import Client, handle_file

from deepfake.detector import Detector
from tests.conftest import CHROMIUM

pytestmark = pytest.mark.slow

PATIENCE = 60  # seconds until a page that does not come is given up


@dataclass
class Page:
    """A bundle that serves: its address, its process, and when that was started."""

    url: str
    process: subprocess.Popen
    started: float

    def memory(self) -> dict[str, int]:
        """Return the megabytes in memory, now (`VmRSS`) and at most (`VmHWM`)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return {name: int(kilobytes) // 1024 for name, kilobytes in re.findall(r"(VmRSS|VmHWM):\s+(\d+)", status)}


@pytest.fixture(scope="module")
def alone(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bundle with `venv/` beside it, which holds what the bundle requires."""
    folder = tmp_path_factory.mktemp("alone")
    shutil.copytree(bundle_folder, folder / "bundle")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    install = [folder / "venv" / "bin" / "pip", "install", "-q", "-r", folder / "bundle" / "requirements.txt"]
    subprocess.run(install, check=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def served(alone: Path, free_port: Callable[[], int]) -> Iterator[Page]:
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "HOME": str(alone), "GRADIO_SERVER_PORT": str(port)}
    started = time.monotonic()
    command = [alone / "venv" / "bin" / "python", "app.py"]
    with (alone / "log.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=alone / "bundle", env=environment, stdout=log, stderr=log)
    try:
        page = Page(f"http://127.0.0.1:{port}", process, started)
        while not answers(f"{page.url}/healthz"):
            told = (alone / "log.txt").read_text()
            assert process.poll() is None, told
            assert time.monotonic() - started < PATIENCE, told
            time.sleep(0.1)
        yield page
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def bundle_url(served: Page) -> str:
    """The address of a page that a bundle serves, with nothing but what its own requirements brought."""
    return served.url


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=2).status == 200
    except OSError:
        return False


def test_a_program_gets_what_the_detector_says(
    served: Page, bundle_url: str, detector_folder: Path, faces: Path, capsys: pytest.CaptureFixture
) -> None:
    picture = next((faces / "Test" / "Fake").iterdir())
    told = Client(bundle_url, verbose=False).predict(handle_file(str(picture)), api_name="/predict")
    seconds, memory = time.monotonic() - served.started, served.memory()
    expected = Detector.load(detector_folder).predict(picture)
    assert told["verdict"] == expected.verdict
    assert told["p_fake"] == pytest.approx(expected.p_fake, abs=1e-6)
    with capsys.disabled():
        print(
            f"\nfrom start to first answer {seconds:.1f} s, memory {memory['VmRSS']} MB, at most {memory['VmHWM']} MB"
        )
    assert seconds < PATIENCE


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, like `apt-get install chromium`")
def test_a_visitor_uploads_a_picture_and_reads_the_verdict(
    bundle_url: str, detector_folder: Path, faces: Path, browser
) -> None:
    picture = next((faces / "Test" / "Real").iterdir())
    expected = Detector.load(detector_folder).predict(picture)
    page = browser.new_page()
    page.goto(bundle_url)
    page.locator("#picture input[type=file]").first.set_input_files(picture)
    page.locator(".df-verdict").wait_for()
    assert page.locator(".df-verdict strong").inner_text() == expected.verdict
    assert f"{expected.p_fake:.1%}" in page.locator("#answer").inner_text()
    page.locator(".gallery-item").first.click()  # an example, which came with the bundle
    page.locator("#picture").get_by_text("Drop Image Here").wait_for()
    assert not page.locator("#model").is_visible()  # there is one model, and no registry


def test_it_writes_nothing_but_pythons_own_beside_itself(bundle_url: str, alone: Path, bundle_folder: Path) -> None:
    found = {path.relative_to(alone / "bundle") for path in (alone / "bundle").rglob("*") if path.is_file()}
    there = {path.relative_to(bundle_folder) for path in bundle_folder.rglob("*") if path.is_file()}
    assert [path for path in found - there if "__pycache__" not in path.parts] == []
