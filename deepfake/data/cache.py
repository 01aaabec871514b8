"""Decode once: a list of files -> one file of pixels, mapped into memory, and what was learnt on the way.

Every file is read, hashed, decoded and fitted into its square once, in parallel. The pixels then lie in one flat uint8
file under `data/cache/`, which any number of runs map at the same time; it is rebuilt when a file of the data set
changes or can be read after all, or when the cache is damaged, and never holds half a data set. Old caches make room
for new ones.
"""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from deepfake import threads
from deepfake.config import home
from deepfake.data import duplicates, traits
from deepfake.data.images import Resize, read, read_bytes, square
from deepfake.data.index import ImageFile, stamp
from deepfake.data.tables import printable
from deepfake.errors import DataError, ImageError

FORMAT = 3  # raise it when the same files would give other pixels, or a cache other files
SAMPLE = 64  # images whose checksum is compared each time a cache is opened
MAPPED = ("pixels", "thumbnails")  # .u8, mapped into memory
TABLES = ("files.csv", "traits.npy")  # read whole
UNREAD = -1  # stands for the checksum of the pixels where there was not even a file to decode
DAMAGE = (OSError, ValueError, LookupError, TypeError)  # what reading a cache raises where it is not whole


@dataclass(frozen=True)
class Geometry:
    """How a picture becomes the model's square: its side in pixels, and `squash`, `crop` or `pad`."""

    size: int
    resize: Resize


@dataclass(frozen=True)
class Decoded:
    """The pixels of a list of files.

    Attributes:
        images: Shape (N, size, size, 3), uint8, mapped from the disk.
        files: The N files that could be read, in the order of `images`.
        hashes: SHA-256 of each file's content.
        unreadable: Path and reason of each file that could not be read.
        traits: Shape (N, traits), float32: what each file shows besides the face, as `traits.measure` finds it.
        thumbnails: Shape (N, 64, 64), uint8, grey, mapped from the disk, as `duplicates.thumbnail` makes them.
        place: The cache's folder.
    """

    images: np.ndarray
    files: list[ImageFile]
    hashes: list[str]
    unreadable: list[tuple[str, str]]
    traits: np.ndarray
    thumbnails: np.ndarray
    place: Path


@dataclass(frozen=True)
class _Loaded:
    """What is kept of a file: its SHA-256, pixels in their square, thumbnail and traits."""

    digest: str
    pixels: np.ndarray
    thumbnail: np.ndarray
    traits: np.ndarray


@dataclass(frozen=True)
class Entry:
    """A cache, as it lies in the folder of caches.

    Attributes:
        key: Its name.
        root: The data set's folder; empty where the cache is unfinished or damaged, like all that follows.
        images: Number of images.
        size: Their side in pixels.
        resize: How they were fitted into the square.
        used: When it was last used, in seconds since 1970.
        taken: Bytes on the disk.
    """

    key: str
    root: str
    images: int
    size: int
    resize: str
    used: float
    taken: int


def default_folder() -> Path:
    """Return the folder of all caches."""
    return home() / "data" / "cache"


def decode(root: Path, files: Sequence[ImageFile], geometry: Geometry, folder: Path, limit: float) -> Decoded:
    """Return the pixels of the files, from the cache where they are there.

    Args:
        root: Folder to which the files' paths are relative.
        files: The files.
        geometry: The square.
        folder: Folder of all caches.
        limit: Gigabytes that all caches may take; for a new one, those that were not used for longest are removed.

    Returns:
        What could be read, and what could not.

    Raises:
        DataError: If the pixels cannot be written, as the disk has no room for them.
    """
    # surrogateescape throughout: a name that is not valid UTF-8 is still a name.
    listing = json.dumps([FORMAT, astuple(geometry), [list(vars(file).values()) for file in files]])
    place = folder / hashlib.sha256(listing.encode()).hexdigest()[:20]
    with suppress(*DAMAGE):
        return _open(place, root, files, geometry)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):
            with suppress(*DAMAGE):  # another process may have built it meanwhile
                return _open(place, root, files, geometry)
            _build(place, root, files, geometry)
            _make_room(place, limit)
            return _open(place, root, files, geometry)
    except OSError as error:
        raise DataError(
            f"{folder}: decoded images cannot be written there ({error.strerror or error}); make room "
            "(`python -m deepfake cache clear`), or name another place with DEEPFAKE_HOME"
        ) from None


def entries(folder: Path) -> list[Entry]:
    """List the caches, the one that was not used for longest first.

    Args:
        folder: Folder of all caches; it need not exist.

    Returns:
        The caches, with what an ended process left unfinished.
    """
    keys = {path.stem for path in folder.glob("*") if re.fullmatch("[0-9a-f]{20}", path.stem) and path.is_dir()}
    return sorted((_entry(folder / key) for key in keys), key=lambda entry: entry.used)


def clear(folder: Path, key: str = "") -> tuple[int, list[str]]:
    """Remove caches.

    Args:
        folder: Folder of all caches.
        key: Key of the one to remove, or its beginning; empty for all.

    Returns:
        The bytes that were freed, and the keys of caches that stay: they are being built, or are not ours to remove.

    Raises:
        DataError: If no cache, or more than one, has that key.
    """
    chosen = [entry for entry in entries(folder) if entry.key.startswith(key)]
    if key and len(chosen) != 1:
        raise DataError(f"{key} names {len(chosen)} caches in {folder}: `python -m deepfake cache` lists their keys")
    kept = [entry.key for entry in chosen if not _remove(folder / entry.key)]
    return sum(entry.taken for entry in chosen if entry.key not in kept), kept


def _build(place: Path, root: Path, files: Sequence[ImageFile], geometry: Geometry) -> None:
    shutil.rmtree(place, ignore_errors=True)
    partial = place.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        _fill(partial, root, files, geometry)
        partial.rename(place)
    except BaseException:  # a full disk must not stay full of what is of no use
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _fill(partial: Path, root: Path, files: Sequence[ImageFile], geometry: Geometry) -> None:
    shape = (len(files), geometry.size, geometry.size, 3)
    _check_room(partial.parent, int(np.prod(shape)) + len(files) * duplicates.SIDE**2)
    results: list[tuple[str, str, int]] = []
    measured: list[np.ndarray] = []

    def load(file: ImageFile) -> _Loaded | tuple[str, str, int]:
        try:
            content = _read(root, file)
        except ImageError as error:
            return "", str(error), UNREAD
        try:
            return _load(content, geometry)
        except ImageError as error:
            return "", str(error), 0

    pixels, small = (partial / "pixels.u8").open("wb"), (partial / "thumbnails.u8").open("wb")
    with pixels, small, ThreadPoolExecutor(threads.count()) as pool:
        # Mapping in slices bounds the memory: a pool would otherwise decode far ahead of the disk.
        loaded = (item for part in _slices(files, 512) for item in pool.map(load, part))
        for outcome in tqdm(loaded, "Decoding images", len(files), unit=" images", leave=False, disable=None):
            if isinstance(outcome, tuple):
                results.append(outcome)
            else:
                results.append((outcome.digest, "", zlib.crc32(outcome.pixels)))
                measured.append(outcome.traits)
                pixels.write(outcome.pixels)
                small.write(outcome.thumbnail)
        for file in (pixels, small):
            file.flush()
            os.fsync(file.fileno())
    np.save(partial / "traits.npy", np.array(measured, np.float32).reshape(-1, len(traits.NAMES)))
    with (partial / "files.csv").open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows(results)
    meta = {
        "root": printable(str(root)),
        **asdict(geometry),
        "shape": [len(measured), *shape[1:]],
        **{name: _stamp(partial / f"{name}.u8") for name in MAPPED},
        **{name: zlib.crc32((partial / name).read_bytes()) for name in TABLES},
    }
    (partial / "meta.json").write_text(json.dumps(meta))


def _read(root: Path, file: ImageFile) -> bytes:
    """Read a file that still is the one that was listed; the cache is found again by what was listed."""
    content = read_bytes(root / file.path)
    with suppress(OSError):
        if stamp(os.stat(root / file.path)) == file.stamp:
            return content
    raise ImageError("changed since the folder was listed")


def _is_readable(root: Path, file: ImageFile) -> bool:
    try:
        _read(root, file)
    except ImageError:
        return False
    return True


def _load(content: bytes, geometry: Geometry) -> _Loaded:
    picture = read(content)
    return _Loaded(
        digest=hashlib.sha256(content).hexdigest(),
        pixels=np.ascontiguousarray(square(picture, geometry.size, geometry.resize)),
        thumbnail=np.ascontiguousarray(duplicates.thumbnail(picture)),
        traits=traits.measure(content, picture),
    )


def _stamp(path: Path) -> list[int]:
    """Return what shows that a large file was not changed: its size and time of change."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _open(place: Path, root: Path, files: Sequence[ImageFile], geometry: Geometry) -> Decoded:
    """Map a cache; raises one of `DAMAGE` if it is not there, or not as it was built."""
    meta = json.loads((place / "meta.json").read_text())
    tables = {name: (place / name).read_bytes() for name in TABLES}
    changed = any(meta[name] != zlib.crc32(content) for name, content in tables.items())
    if changed or any(meta[name] != _stamp(place / f"{name}.u8") for name in MAPPED):
        raise ValueError("changed since it was built")
    rows = list(csv.reader(io.StringIO(tables["files.csv"].decode(), newline="")))
    both = list(zip(files, rows, strict=True))
    whole = [(digest, int(checksum)) for digest, _, checksum in rows if digest]
    if any(checksum == str(UNREAD) and _is_readable(root, file) for file, (_, _, checksum) in both):
        raise ValueError("what could not be read can be read now")
    shape = (len(whole), geometry.size, geometry.size, 3)
    if meta["shape"] != list(shape):
        raise ValueError("not the shape it should have")
    images = _map(place / "pixels.u8", shape)
    for number in np.linspace(0, len(whole) - 1, min(SAMPLE, len(whole)), dtype=int):
        if zlib.crc32(images[number]) != whole[number][1]:
            raise ValueError("not the pixels that were decoded")
    with suppress(OSError):  # where the folder is read only, nothing is removed from it either
        os.utime(place / "meta.json")
    return Decoded(
        images=images,
        files=[file for file, (digest, _, _) in both if digest],
        hashes=[digest for digest, _ in whole],
        unreadable=[(file.path, reason) for file, (digest, reason, _) in both if not digest],
        traits=np.load(io.BytesIO(tables["traits.npy"])),
        thumbnails=_map(place / "thumbnails.u8", (len(whole), duplicates.SIDE, duplicates.SIDE)),
        place=place,
    )


def _map(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    return np.memmap(path, np.uint8, "r", shape=shape) if shape[0] else np.zeros(shape, np.uint8)


def _entry(place: Path) -> Entry:
    found = [path for folder in (place, place.with_suffix(".partial")) for path in folder.glob("*")]
    taken = 0
    for path in found:
        with suppress(OSError):  # another process may remove it meanwhile
            taken += path.stat().st_size
    try:
        meta = json.loads((place / "meta.json").read_text())
        used = (place / "meta.json").stat().st_mtime
        return Entry(place.name, meta["root"], meta["shape"][0], meta["size"], meta["resize"], used, taken)
    except DAMAGE:
        return Entry(place.name, "", 0, 0, "", 0.0, taken)


def _make_room(newest: Path, limit: float) -> None:
    """Remove what is unfinished, then what was not used for longest, until all caches fit into `limit` gigabytes."""
    found = entries(newest.parent)
    total = sum(entry.taken for entry in found)
    for entry in found:
        needless = total > limit * 1e9 or not entry.root
        if entry.key != newest.name and needless and _remove(newest.with_name(entry.key)):
            total -= entry.taken


def _remove(place: Path) -> bool:
    """Remove a cache and all that belongs to it, and say whether it is gone; one that is being built stays.

    A process that has mapped it reads on: the pixels stay on the disk until it ends.
    """
    try:
        with FileLock(f"{place}.lock", timeout=0):
            for folder in (place, place.with_suffix(".partial")):
                if folder.exists():
                    shutil.rmtree(folder)
            with suppress(PermissionError):  # Windows keeps a file that is open
                Path(f"{place}.lock").unlink()
    except OSError:  # filelock's Timeout is one
        return False
    return True


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder}: decoded images need {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
            "make room (`python -m deepfake cache clear`), or take a smaller dataset.image_size or dataset.limit"
        )


def _slices(items: Sequence[ImageFile], size: int) -> Iterable[Sequence[ImageFile]]:
    return (items[start : start + size] for start in range(0, len(items), size))
