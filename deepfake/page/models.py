"""Which models the page offers: the one it was started with, or all that are registered, with the champion followed."""

import logging
import math
import re
from functools import lru_cache
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Protocol

from deepfake.detector import CARD_FILE, Detector
from deepfake.errors import TrackingError
from deepfake.page.engine import Engine

if TYPE_CHECKING:
    from deepfake.registry import Version

KEPT = 3  # models that stay loaded besides the one that the page opens with
POLL = 5.0  # seconds between two looks at which version the alias points to


class Models(Protocol):
    """The models that a page offers."""

    def get(self, key: str | None) -> Engine:
        """Return a model, loaded and warm.

        Args:
            key: A key of `choices`, or None for the model that the page opens with.

        Returns:
            The model.

        Raises:
            DeepfakeError: If it is not there any more.
        """

    def choices(self) -> list[tuple[str, str]]:
        """Return what a visitor may choose from, as pairs of a text and a key; nothing where there is no choice."""


class OneModel:
    """The model that lies in a folder, as on a Space."""

    def __init__(self, path: Path, name: str) -> None:
        self._engine = Engine(Detector.load(path), name)

    def get(self, key: str | None) -> Engine:
        """Return the model, whatever the key."""
        return self._engine

    def choices(self) -> list[tuple[str, str]]:
        """Return nothing."""
        return []


class RegisteredModels:
    """All versions in the registry. The page opens with one of them; where that is an alias, it follows the alias.

    A version is loaded and warm before it takes the other's place, and who asked the other still gets its answer.
    """

    def __init__(self, default: str) -> None:
        self._default, self._lock = default, Lock()
        self._load = lru_cache(KEPT)(_load)
        self._current = self._load(self._run(default))
        self._closed = Event()
        Thread(target=self._follow, daemon=True).start()

    def get(self, key: str | None) -> Engine:
        """Return the model of a version, or the one that the page opens with."""
        if key in (None, self._default):
            return self._current
        if not re.fullmatch(r"\d{1,5}", str(key)):  # what is offered are versions, not whatever a registry can name
            raise TrackingError(f"model {key} is not offered")
        with self._lock:  # two visitors who choose the same version load it once
            return self._load(self._run(key))

    def choices(self) -> list[tuple[str, str]]:
        """Return the one that the page opens with, then all versions, with aliases and metrics, the newest first."""
        from deepfake import registry

        versions = {version.number: _describe(version) for version in registry.versions()}
        first = {self._default: f"{self._default}: {self._current.name}"} if self._default not in versions else {}
        return [(text, key) for key, text in (first | versions).items()]

    def refresh(self) -> None:
        """Let the page open with the version that its alias points to now."""
        run = self._run(self._default)
        if run != self._current.detector.card.run_id:
            with self._lock:
                self._current = self._load(run)

    def close(self) -> None:
        """Follow the alias no more."""
        self._closed.set()

    def _follow(self) -> None:
        while not self._closed.wait(POLL):
            try:
                self.refresh()
            except Exception as error:  # the registry may be away, or busy: what is served goes on being served
                logging.getLogger(__name__).warning("the registry cannot be asked: %s", str(error).splitlines()[:1])

    @staticmethod
    def _run(key: str) -> str:
        from deepfake import registry

        return registry.run_of(key)


def find(which: str | None, beside: Path) -> Models:
    """Find and load the models of a page.

    Args:
        which: A version, an alias, a run id, an MLflow URI or a path; None for the default.
        beside: A folder. The detector that lies in it is the default; if there is none, the champion is.

    Returns:
        The models.

    Raises:
        DeepfakeError: If there is no such model.
    """
    if which is None and (beside / CARD_FILE).is_file():
        return OneModel(beside, "This Space's model")
    if which is not None and Path(which).exists():
        return OneModel(Path(which), Path(which).name)
    from deepfake.registry import CHAMPION

    return RegisteredModels(which or CHAMPION)


def _load(run: str) -> Engine:
    from deepfake import registry

    detector = Detector.load(registry.fetch(run))
    return Engine(detector, registry.name_of(run) or f"run {run}")


def _describe(version: "Version") -> str:
    names = ", ".join([f"version {version.number}", *version.aliases])
    auc, right = (version.metrics.get(f"test/{name}", math.nan) for name in ("auc", "balanced_accuracy"))
    return f"{names} · AUC {auc:.3f}, {right:.0%} right"
