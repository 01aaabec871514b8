"""A page that serves the finished run's model, as `python app.py` does."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deepfake.detector import Detector


@dataclass(frozen=True)
class Served:
    """A page: its address, the detector behind it, and the folder where uploads lie until they are answered."""

    url: str
    detector: Detector
    uploads: Path

    def files(self) -> list[Path]:
        """Return what lies there."""
        return [path for path in self.uploads.rglob("*") if path.is_file()]


@pytest.fixture(scope="session")
def detector(finished_run: dict) -> Detector:
    """The champion."""
    return Detector.load("models:/deepfake-detector@champion")


@pytest.fixture(scope="module")
def served(detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page on a free port."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("uploads")
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        import app
        from deepfake.page.models import RegisteredModels

        models = RegisteredModels("champion")
        page, url = app.serve(models)
        yield Served(url.rstrip("/"), detector, folder)
        models.close()
        page.close()


@pytest.fixture(scope="session")
def fake(faces: Path) -> Path:
    """A picture of the Test split."""
    return sorted((faces / "Test" / "Fake").iterdir())[0]
