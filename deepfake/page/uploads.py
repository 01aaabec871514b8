"""What visitors send: taken from Gradio as files, limited, and deleted as soon as it is answered."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, Thread
from typing import Any, NoReturn

import gradio as gr

MAX_FILE_SIZE = "20mb"
STALE = 600  # seconds after which what was sent in part, or never asked about, is deleted


def paths(sent: Any) -> list[Path]:
    """Return the paths in what a component sent, as Gradio hands it over unprocessed: they may be of any file."""
    files = sent if isinstance(sent, list) else [sent]
    return [Path(file["path"]) for file in files if file and file.get("path")]


async def fetch_nothing(*_: Any, **__: Any) -> NoReturn:
    """Stand in for Gradio's download of addresses that a visitor sends in place of a file."""
    raise gr.Error("Send the picture itself, not its address.", print_exception=False)


class Uploads(set):
    """Gradio's set of uploaded files, each of which gets a place of its own.

    Gradio names a file by its content, so that two visitors who send the same picture would share one, and the first to
    be answered would take it away from the other.
    """

    def __init__(self) -> None:
        super().__init__()
        self._taken: set[str] = set()
        self._lock = Lock()

    def update(self, *files: list[str]) -> None:  # type: ignore[override]  # only lists can be told of new paths
        """Take up files that were sent; in these lists, which Gradio answers with, they get their new paths.

        Gradio calls this right after it has put the files where it wants them, and from one thread.
        """
        for sent in files:
            sent[:] = [_apart(Path(path)) for path in sent]
            super().update(sent)

    @contextmanager
    def take(self, paths: list[Path]) -> Iterator[list[Path]]:
        """Take files, to be deleted when what is done with them ends, however it ends.

        Args:
            paths: Any paths.

        Yields:
            Those of them that are uploads and that nobody has taken before: a browser tells of one in several ways.
        """
        with self._lock:
            mine = [path for path in paths if str(path) in self and str(path) not in self._taken]
            self._taken.update(map(str, mine))
        try:
            yield mine
        finally:
            for path in mine:
                self.discard(str(path))
                with suppress(OSError):
                    path.unlink()
                    path.parent.rmdir()
            self._taken.difference_update(map(str, mine))

    def watch(self, folder: Path) -> None:
        """Sweep a folder again and again for as long as this program runs."""
        Thread(target=self._sweep_on, args=(folder,), daemon=True).start()

    def sweep(self, folder: Path) -> None:
        """Delete what has lain in a folder for long: never asked about, broken off, or sent as what it is not.

        Gradio's own `delete_cache` does not know what was sent in part, deletes what is being judged, and ends for good
        when a file comes while it looks through them.
        """
        # `walk` passes over a folder that goes meanwhile; `rglob` raises, which would end the watch
        for path in [Path(inside, name) for inside, _, names in os.walk(folder) for name in names]:
            with suppress(OSError), self._lock:
                if path.stat().st_mtime < time.time() - STALE and str(path) not in self._taken:
                    self.discard(str(path))
                    path.unlink()
                    if path.parent != folder:
                        path.parent.rmdir()

    def _sweep_on(self, folder: Path) -> None:
        while True:
            time.sleep(STALE / 20)
            self.sweep(folder)


def _apart(path: Path) -> str:
    """Move a file into a new folder beside its own, which goes if it is empty; return its path."""
    own = path.parents[1] / secrets.token_hex(16) / path.name
    own.parent.mkdir()
    path.rename(own)
    with suppress(OSError):
        path.parent.rmdir()
    return str(own)
