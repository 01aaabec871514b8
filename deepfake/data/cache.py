"""Decode once: a list of files -> one file of pixels, mapped into memory, and what was learnt on the way.

Every file is read, hashed, decoded and fitted into its square once, in parallel. The pixels then lie in one flat uint8
file under `data/cache/`, which any number of runs map at the same time; it is rebuilt when a file of the data set
changes, and never holds half a data set.
"""

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from deepfake.data.images import read, square
from deepfake.data.index import ImageFile
from deepfake.errors import DataError, ImageError

FORMAT = 1  # raise it when the same files would give other pixels


@dataclass(frozen=True)
class Geometry:
    """How a picture becomes the model's square: its side in pixels, and `squash`, `crop` or `pad`."""

    size: int
    resize: str


@dataclass(frozen=True)
class Decoded:
    """The pixels of a list of files.

    Attributes:
        images: Shape (N, size, size, 3), uint8, mapped from the disk.
        files: The N files that could be read, in the order of `images`.
        hashes: SHA-256 of each file's content.
        unreadable: Path and reason of each file that could not be read.
    """

    images: np.ndarray
    files: list[ImageFile]
    hashes: list[str]
    unreadable: list[tuple[str, str]]


def decode(root: Path, files: Sequence[ImageFile], geometry: Geometry, folder: Path) -> Decoded:
    """Return the pixels of the files, from the cache where they are there.

    Args:
        root: Folder to which the files' paths are relative.
        files: The files.
        geometry: The square.
        folder: Folder of all caches.

    Returns:
        What could be read, and what could not.

    Raises:
        DataError: If the disk has no room for the pixels.
    """
    # surrogateescape throughout: a name that is not valid UTF-8 is still a name.
    listing = json.dumps([FORMAT, astuple(geometry), [astuple(file) for file in files]])
    place = folder / hashlib.sha256(listing.encode()).hexdigest()[:20]
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):
        if not _is_whole(place):
            _build(place, root, files, geometry)
    return _open(place, files)


def _is_whole(place: Path) -> bool:
    try:
        shape = json.loads((place / "meta.json").read_text())["shape"]
        return (place / "pixels.u8").stat().st_size == int(np.prod(shape))
    except (OSError, ValueError, KeyError):
        return False


def _build(place: Path, root: Path, files: Sequence[ImageFile], geometry: Geometry) -> None:
    shutil.rmtree(place, ignore_errors=True)
    partial = place.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    shape = (len(files), geometry.size, geometry.size, 3)
    _check_room(place.parent, int(np.prod(shape)))
    results: list[tuple[str, str]] = []
    kept = 0

    def load(file: ImageFile) -> tuple[str, np.ndarray | str]:
        try:
            content = (root / file.path).read_bytes()
        except OSError as error:
            return "", error.strerror or "cannot be read"
        try:
            return hashlib.sha256(content).hexdigest(), square(read(content), geometry.size, geometry.resize)
        except ImageError as error:
            return "", str(error)

    with (partial / "pixels.u8").open("wb") as pixels, ThreadPoolExecutor(os.cpu_count()) as pool:
        # Mapping in slices bounds the memory: a pool would otherwise decode far ahead of the disk.
        loaded = (item for part in _slices(files, 512) for item in pool.map(load, part))
        for digest, outcome in tqdm(loaded, "Decoding images", len(files), unit=" images", leave=False, disable=None):
            if isinstance(outcome, str):
                results.append(("", outcome))
            else:
                results.append((digest, ""))
                pixels.write(outcome.data if outcome.flags.c_contiguous else outcome.tobytes())
                kept += 1
        pixels.flush()
        os.fsync(pixels.fileno())
    with (partial / "files.csv").open("w", newline="") as table:
        csv.writer(table).writerows(results)
    (partial / "meta.json").write_text(json.dumps({"format": FORMAT, "shape": [kept, *shape[1:]]}))
    partial.rename(place)


def _open(place: Path, files: Sequence[ImageFile]) -> Decoded:
    shape = tuple(json.loads((place / "meta.json").read_text())["shape"])
    with (place / "files.csv").open(newline="") as table:
        rows = list(csv.reader(table))
    images = np.memmap(place / "pixels.u8", np.uint8, "r", shape=shape) if shape[0] else np.zeros(shape, np.uint8)
    both = list(zip(files, rows, strict=True))
    return Decoded(
        images=images,
        files=[file for file, (digest, _) in both if digest],
        hashes=[digest for digest, _ in rows if digest],
        unreadable=[(file.path, reason) for file, (digest, reason) in both if not digest],
    )


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder}: decoded images need {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
            "make room, or take a smaller dataset.image_size or dataset.limit"
        )


def _slices(items: Sequence[ImageFile], size: int) -> Iterable[Sequence[ImageFile]]:
    return (items[start : start + size] for start in range(0, len(items), size))
