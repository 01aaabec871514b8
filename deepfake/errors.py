"""Errors a person can cause. Their text is one line: what was wrong, where, and what to do."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DeepfakeError(Exception):
    """Base of every error whose message is written for the person at the keyboard."""


class ConfigError(DeepfakeError):
    """A configuration key, group or value that cannot be used."""


class DataError(DeepfakeError):
    """A data set that is missing, incomplete or unreadable."""


class ImageError(DeepfakeError):
    """Bytes that are not a usable still image or video. The message never holds a path."""


class ModelError(DeepfakeError):
    """A model file that is missing, damaged or not to be trusted."""


class TrackingError(DeepfakeError):
    """A run, a version or a tracking store that is not there or not as expected."""


class StoreLostError(TrackingError):
    """A tracking store that does not answer."""


class JobError(DeepfakeError):
    """A job of a sweep failed; the sweep itself names it."""


@contextmanager
def told() -> Iterator[None]:
    """Make one line of it if the system refuses to read or write a file or a folder; also a decorator."""
    try:
        yield
    except OSError as error:
        reason = refusal(error)
        if reason is None:
            raise
        raise DeepfakeError(reason) from error


@contextmanager
def naming(path: os.PathLike[str]) -> Iterator[None]:
    """Say which file was written if the system refuses it: of a full disk, Python tells no path."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def refusal(error: OSError) -> str | None:
    """Say what the system refused, and what to do; None if it did something else."""
    if isinstance(error, shutil.Error):  # of copying a folder: of each file its source, its place and why not
        _, place, why = error.args[0][0]
        return f"{place}: {why}; free some space" if os.strerror(errno.ENOSPC) in why else None
    if error.errno in _FULL:
        known = error.filename2 or error.filename  # of a copy, where it should go
        places = f"{os.environ.get('DEEPFAKE_HOME', 'data/ and mlruns/')} or {tempfile.gettempdir()}"
        return f"{known or places}: {error.strerror}; free some space"
    if error.errno in _REFUSED and isinstance(error.filename, str):
        return (
            f"{error.filename}: {error.strerror}; give yourself access to it, or, for data/ and mlruns/, "
            "set DEEPFAKE_HOME to a folder of yours"
        )
    return None


def one_line(text: object, longest: int = 80) -> str:
    """Write what anyone may have written so that it stays one line, and a short one."""
    line = "".join(letter if letter.isprintable() else "?" for letter in str(text)[: longest + 1])
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
