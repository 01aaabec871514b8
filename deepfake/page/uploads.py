"""What visitors send: taken from Gradio as files, limited, and deleted as soon as it is answered."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import gradio as gr

MAX_FILE_SIZE = "20mb"
STALE = 600  # seconds after which what was sent in part, or never asked about, is deleted


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
        self._asked: Counter[str] = Counter()
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
        asked = Counter(map(str, paths))
        with self._lock:
            self._asked += asked
        try:
            yield
        finally:
            with self._lock:
                self._asked -= asked
                for path in asked.elements():
                    self._drop(path)

    def watch(self, folder: Path) -> None:
        """Sweep a folder again and again for as long as this program runs."""
        Thread(target=self._sweep_on, args=(folder,), daemon=True).start()

    def sweep(self, folder: Path) -> None:
        """Delete what has lain in a folder for long: never asked about, broken off, or sent as what it is not.

        Gradio's own `delete_cache` does not know what was sent in part, deletes what is being judged, and ends for good
        when a file comes while it looks through them.
        """
        for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder before the folder
            with suppress(OSError), self._lock:  # a folder that is not empty stays
                if path.stat().st_mtime > time.time() - STALE or str(path) in self._asked:
                    continue
                if path.is_dir():
                    path.rmdir()
                else:
                    self._forget(str(path))

    def _sweep_on(self, folder: Path) -> None:
        while True:
            time.sleep(STALE / 20)
            self.sweep(folder)

    def _drop(self, path: str) -> None:
        if self._sent[path] > 1:
            self._sent[path] -= 1
        elif self._sent.pop(path, 0):
            self._forget(path)

    def _forget(self, path: str) -> None:
        """Delete a file. Its folder not at once: Gradio may be about to put the same picture there again."""
        self._sent.pop(path, None)
        self.discard(path)
        Path(path).unlink(missing_ok=True)
