"""What visitors send: taken from Gradio as files, limited, and deleted as soon as it is answered."""

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

import gradio as gr

MAX_FILE_SIZE = "20mb"
STALE = (20, 120)  # seconds: how often, and after how long, what was sent and never asked about is deleted


def paths(sent: Any) -> list[Path]:
    """Return the files of what a component sent, as Gradio hands it over unprocessed: it knows them to be uploads."""
    files = sent if isinstance(sent, list) else [sent]
    return [Path(file["path"]) for file in files if file and file.get("path")]


async def fetch_nothing(*_: Any, **__: Any) -> None:
    """Stand in for Gradio's download of addresses that a visitor sends in place of a file."""
    raise gr.Error("Send the picture itself, not its address.", print_exception=False)


class Uploads(set):
    """Gradio's set of uploaded files, which also counts how often each was sent.

    Gradio names a file by its content, so two visitors who send the same picture share one file. It is deleted when the
    last of them has been answered.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sent: Counter[str] = Counter()
        self._emptied: deque[tuple[float, Path]] = deque()
        self._lock = Lock()

    def update(self, *files: Iterable[Any]) -> None:
        """Take up files that were sent."""
        sent = [str(file) for some in files for file in some]
        with self._lock:
            self._sent.update(sent)
            super().update(sent)

    @contextmanager
    def answered(self, *paths: Path) -> Iterator[None]:
        """Delete files when what is done with them ends, however it ends. Files that nobody sent are left alone."""
        try:
            yield
        finally:
            for path in map(str, paths):
                self._drop(path)

    def _drop(self, path: str) -> None:
        with self._lock:
            if self._sent[path] > 1:
                self._sent[path] -= 1
                return
            if not self._sent.pop(path, 0):
                return
            self.discard(path)
            Path(path).unlink(missing_ok=True)
            self._emptied.append((time.monotonic(), Path(path).parent))
            # Its folder not at once: Gradio may be about to put the same picture there again.
            while self._emptied and self._emptied[0][0] < time.monotonic() - STALE[1]:
                with suppress(OSError):
                    self._emptied.popleft()[1].rmdir()
