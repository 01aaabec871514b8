"""What a run could not tell its tracking store: kept in its order on this machine, until the store answers again.

Each entry may be sent twice with no harm, as it carries its own time: who is interrupted while sending begins anew.
"""

import json
import os
import shutil
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake.config import home
from deepfake.errors import StoreLostError, naming

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PAUSE = 15.0  # seconds for which a store that did not answer is left alone


def waiting() -> list[str]:
    """Return the ids of the runs of which something is still to be sent."""
    return sorted(path.name for path in (home() / "mlruns" / "outbox").glob("*"))


def is_lost(error: Exception) -> bool:
    """Say whether an error means that the store does not answer, rather than that it was asked something wrong."""
    from mlflow import MlflowException
    from requests import ConnectionError, HTTPError, Timeout

    if isinstance(error, MlflowException):
        return error.get_http_status_code() >= 500
    if isinstance(error, HTTPError):
        return error.response is not None and error.response.status_code >= 500
    return isinstance(error, ConnectionError | Timeout | StoreLostError)


@contextmanager
def telling(store: str) -> Iterator[None]:
    """Say in one line that the store does not answer, where nothing can go on without it."""
    try:
        yield
    except Exception as error:
        if not is_lost(error):
            raise
        reason = textwrap.shorten(str(error), 160)
        raise StoreLostError(f"the tracking store {store} cannot be used, is its server running? ({reason})") from None


class Outbox:
    """Sends what a run records, or keeps it where the store does not answer."""

    def __init__(self, connected: "MlflowClient", run_id: str) -> None:
        """Open a run's outbox; nothing is sent yet."""
        self.folder = home() / "mlruns" / "outbox" / run_id
        self._entries = self.folder / "entries.jsonl"
        self._registration = self.folder / "register"
        self._client = connected
        self._run_id = run_id
        self._not_before = 0.0

    def put(self, **entry: Any) -> None:
        """Record `metrics` ([name, value, ms, step] each), `tags`, or a `status` with its end in `ms`."""
        if not self._sends(entry):
            self._keep(entry)

    def put_files(self, folder: Path, place: str | None) -> None:
        """Record a folder's files as artifacts, below `place`."""
        if not self._sends({"files": str(folder), "place": place}):
            kept = self.folder / f"files-{time.time_ns()}"
            shutil.copytree(folder, kept)
            self._keep({"files": str(kept), "place": place})

    def put_registration(self) -> None:
        """Note that the run's model is still to be registered."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._registration.touch()

    @property
    def awaits_registration(self) -> bool:
        """Whether the run's model is still to be registered."""
        return self._registration.exists()

    def send(self) -> bool:
        """Send what was kept, unless the store did not answer a moment ago; say whether nothing is left to send."""
        if not self.folder.exists():
            return True
        if not all(self._tried(entry) for entry in self._kept()):
            return False
        self._entries.unlink(missing_ok=True)  # first: entries without their files could not be sent again
        for kept in self.folder.glob("files-*"):
            shutil.rmtree(kept)
        if not self.awaits_registration:
            self.clear()
        return True

    def clear(self) -> None:
        """Forget all that is kept."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _sends(self, entry: dict[str, Any]) -> bool:
        return self.send() and self._tried(entry)

    def _tried(self, entry: dict[str, Any]) -> bool:
        if time.monotonic() < self._not_before:
            return False
        try:
            _apply(self._client, self._run_id, entry)
        except Exception as error:
            if not is_lost(error):
                raise
            self._not_before = time.monotonic() + _PAUSE
            return False
        return True

    def _keep(self, entry: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with naming(self._entries), self._entries.open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps(entry)}\n")  # on a line of its own, even after one that was cut off
            file.flush()
            os.fsync(file.fileno())

    def _kept(self) -> Iterator[dict[str, Any]]:
        if self._entries.is_file():
            for line in self._entries.read_text(encoding="utf-8").splitlines():
                with suppress(json.JSONDecodeError):  # a line whose process was killed in it, or none
                    yield json.loads(line)


def _apply(connected: "MlflowClient", run_id: str, entry: dict[str, Any]) -> None:
    from mlflow.entities import Metric, RunTag

    if "files" in entry:
        connected.log_artifacts(run_id, entry["files"], entry["place"])
    elif "status" in entry:
        connected.set_terminated(run_id, entry["status"], entry["ms"])
    else:
        metrics = [Metric(*metric) for metric in entry.get("metrics", [])]
        connected.log_batch(run_id, metrics, tags=[RunTag(*tag) for tag in entry.get("tags", {}).items()])
