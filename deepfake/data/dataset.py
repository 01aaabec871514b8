"""A data set: a folder of images -> checked, decoded splits with a fingerprint."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepfake.config import SPLITS, Dataset, FolderDataset, SyntheticDataset
from deepfake.data.cache import Decoded, Geometry, decode, default_folder
from deepfake.data.images import read_bytes
from deepfake.data.index import ImageFile, draw_splits, read_splits, scan, take
from deepfake.data.sources import locate
from deepfake.errors import DataError, ImageError


@dataclass(frozen=True)
class Split:
    """One split.

    Attributes:
        images: Shape (N, size, size, 3), uint8 RGB, mapped from the disk; a training may hold counts instead.
        labels: Shape (N,), int64: 0 Real, 1 Fake.
        paths: N paths relative to the data set's root.
        groups: N names of the source video or identity.
    """

    images: np.ndarray
    labels: np.ndarray
    paths: list[str]
    groups: list[str]

    def counts(self, class_names: Sequence[str]) -> dict[str, int]:
        """Return the number of images of each class, by name."""
        return {name: int(np.sum(self.labels == label)) for label, name in enumerate(class_names)}


@dataclass(frozen=True)
class Data:
    """A data set, decoded.

    Attributes:
        name: `synthetic`, the folder's name, or the download's handle.
        root: Folder to which the paths are relative.
        fingerprint: Hash of the content: of every file's bytes, label and split, whatever its name or place.
        splits: The splits by name.
        decoded: All their files, one split after the other, and what was learnt when they were read.
    """

    name: str
    root: Path
    fingerprint: str
    splits: dict[str, Split]
    decoded: Decoded

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        """Path and reason of each file that was left out."""
        return self.decoded.unreadable

    def joined(self) -> Split:
        """Return all splits as one."""
        return _as_split(self.decoded.files, self.decoded.images)

    def contents(self, split: str) -> Iterator[bytes]:
        """Read the files of a split once more.

        Args:
            split: Its name.

        Yields:
            What is in each file, in the order of the split's images.

        Raises:
            DataError: If one is not what it was when it was decoded.
        """
        for file, digest in zip(self.decoded.files, self.decoded.hashes, strict=True):
            if file.split != split:
                continue
            path = self.root / file.path
            try:
                content = read_bytes(path)
            except ImageError as error:
                raise DataError(f"{path}: {error}; it could be read before") from None
            if hashlib.sha256(content).hexdigest() != digest:
                raise DataError(f"{path}: changed since it was decoded")
            yield content


def load(settings: Dataset) -> Data:
    """Find, check and decode a data set to train on.

    Args:
        settings: The data set.

    Returns:
        Its three splits, each with images of both classes.

    Raises:
        DataError: If it is not there, lacks a split or a class, or has too many unreadable files.
    """
    data = load_splits(settings, SPLITS)
    for split in SPLITS:
        for name, count in data.splits[split].counts(settings.class_names).items():
            if not count:
                raise DataError(f"{data.root}: {split} has no readable images of class {name}")
    return data


def load_splits(settings: Dataset, splits: Sequence[str]) -> Data:
    """Find, check and decode some splits of a data set.

    Args:
        settings: The data set.
        splits: Names of splits.

    Returns:
        Those splits; one may lack a class.

    Raises:
        DataError: If it is not there, lacks one of the splits, or has too many unreadable files.
    """
    root = locate(settings)
    files = _with_splits(scan(root, settings.class_names), root, settings)
    return _decoded(settings, root, files, splits)


def load_test(settings: FolderDataset, splits: Sequence[str] = ("Test",)) -> Data:
    """Find, check and decode what a model can be measured on.

    Args:
        settings: The data set.
        splits: Which splits, where it has any.

    Returns:
        Those splits, or, of a folder without splits, all its images, as Test.

    Raises:
        DataError: If it is not there, lacks one of the splits, or has too many unreadable files.
    """
    root = locate(settings)
    files = scan(root, settings.class_names)
    if files[0].split:
        return _decoded(settings, root, files, splits)
    return _decoded(settings, root, [replace(file, split="Test") for file in files], ("Test",))


def by_name(found: Sequence[Data]) -> dict[str, Data]:
    """Return data sets by their names; by their folders where a name is another's, or that of a split."""
    names = [*SPLITS, *(data.name for data in found)]
    return {data.name if names.count(data.name) == 1 else str(data.root): data for data in found}


def _with_splits(files: list[ImageFile], root: Path, settings: Dataset) -> list[ImageFile]:
    if isinstance(settings, SyntheticDataset):
        if not files[0].split:
            raise DataError(f"{root} is damaged: remove it, and it will be drawn anew")
        return files
    if settings.split_file:
        return read_splits(files, Path(settings.split_file).expanduser())
    if files[0].split:
        return files
    return draw_splits(files, settings.validation_fraction, settings.test_fraction, settings.split_seed)


def _decoded(settings: Dataset, root: Path, files: list[ImageFile], splits: Sequence[str]) -> Data:
    files = [file for split in splits for file in files if file.split == split]
    for split in splits:
        if not any(file.split == split for file in files):
            raise DataError(f"{root}: there is no {split} split with images in {' or '.join(settings.class_names)}")
    if settings.limit:
        files = take(files, settings.limit)
    geometry = Geometry(settings.image_size, settings.resize)
    decoded = decode(root, files, geometry, default_folder(), settings.cache_limit)
    _check_unreadable(decoded, root, settings.max_unreadable)
    name = settings.name if settings.name != "folder" else root.name
    return Data(name, root, _fingerprint(decoded), _by_split(decoded, splits), decoded)


def _check_unreadable(decoded: Decoded, root: Path, allowed: float) -> None:
    total = len(decoded.files) + len(decoded.unreadable)
    share = len(decoded.unreadable) / total
    if share > allowed or not decoded.files:
        path, reason = decoded.unreadable[0]
        raise DataError(
            f"{root}: {len(decoded.unreadable)} of {total} images cannot be read, like {path} ({reason}); "
            f"dataset.max_unreadable={allowed:g} allows {allowed:.0%}"
        )


def _fingerprint(decoded: Decoded) -> str:
    lines = sorted(f"{f.split} {f.label} {digest}" for f, digest in zip(decoded.files, decoded.hashes, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def _by_split(decoded: Decoded, splits: Sequence[str]) -> dict[str, Split]:
    found, start = {}, 0
    for name in splits:  # the files are in the order of the splits, so each split is a slice
        files = [file for file in decoded.files if file.split == name]
        found[name] = _as_split(files, decoded.images[start : start + len(files)])
        start += len(files)
    return found


def _as_split(files: Sequence[ImageFile], images: np.ndarray) -> Split:
    return Split(
        images=images,
        labels=np.array([file.label for file in files], np.int64),
        paths=[file.path for file in files],
        groups=[file.group for file in files],
    )
