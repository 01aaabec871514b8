"""A folder of images -> a list of files with label, split and group.

The layout is read from the names of the folders, so that data sets are found as people have them: `Train/Real`,
`val/fake`, `0_real`, `training_fake`, or a few folders deeper, as archives unpack. Nothing is decoded here.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepfake.config import SPLITS
from deepfake.data import tables
from deepfake.data.images import SUFFIXES
from deepfake.errors import DataError

HIDDEN = (".", "__MACOSX", "lost+found", "System Volume Information")  # what archives and file systems leave
SPLIT_NAMES = {
    "train": "Train",
    "training": "Train",
    "validation": "Validation",
    "valid": "Validation",
    "val": "Validation",
    "test": "Test",
    "testing": "Test",
}


@dataclass(frozen=True)
class ImageFile:
    """A labelled file.

    Attributes:
        path: Relative to the root, with forward slashes.
        label: 0 for the negative class (Real), 1 for the positive (Fake).
        split: `Train`, `Validation`, `Test`, or empty where the folder has no splits.
        group: Source video or identity; the path itself where that is not known.
        stamp: As `stamp` makes it; empty where the file is not there, like the target of a broken link.
    """

    path: str
    label: int
    split: str
    group: str
    stamp: tuple[int, ...]


def stamp(stat: os.stat_result) -> tuple[int, ...]:
    """Return what differs as soon as a file is another: its size and both its times of change.

    A program can set that of the content, but not that of the entry, which moves with a new name as well. The number
    of the file on the disk would tell no less, but changes by itself where a cloud's storage is mounted.

    Args:
        stat: Of the file.

    Returns:
        Bytes, and nanoseconds twice.
    """
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def scan(root: Path, class_names: Sequence[str]) -> list[ImageFile]:
    """List the labelled images below a folder.

    Args:
        root: The folder.
        class_names: Names of the negative and the positive class.

    Returns:
        The files, by path. All of them have a split, or none has.

    Raises:
        DataError: If the folder is not there, cannot be listed, holds no labelled images, or holds several data sets.
    """
    if not os.path.isdir(root):  # not Path's, which may raise
        raise DataError(f"{root}: there is no such folder of images")
    names = {_plain(name): label for label, name in enumerate(class_names)}
    bases: dict[tuple[str, ...], list[ImageFile]] = {}
    for folders, images in _folders_below(root):
        place = _place(folders, names)
        if place is not None and images:
            base, label, split = place
            paths = (("/".join([*folders, entry.name]), _stamp(entry)) for entry in images)
            bases.setdefault(base, []).extend(ImageFile(path, label, split, path, mark) for path, mark in paths)
    if not bases:
        inside = sorted(entry.name for entry in os.scandir(root) if _is_folder(entry))[:5]
        raise DataError(
            f"no labelled images below {root}: expected Train|Validation|Test/{'|'.join(class_names)}, "
            f"or only {'|'.join(class_names)}; it holds {', '.join(inside) or 'no folders'}"
        )
    if len(bases) > 1:
        found = ", ".join(str(root.joinpath(*base)) for base in sorted(bases)[:4])
        raise DataError(f"several data sets below {root}: point dataset.root at one of {found}")
    (base, files), *_ = bases.items()
    if len({bool(file.split) for file in files}) > 1:
        stray = next(file.path for file in files if not file.split)
        raise DataError(f"{root}: some images stand in a split and some do not, like {stray}; move or remove them")
    return _with_groups(sorted(files, key=lambda file: file.path), root, base)


def draw_splits(files: list[ImageFile], validation: float, test: float, seed: int) -> list[ImageFile]:
    """Give each file a split: at random, the classes alike in each, a group never in two.

    Args:
        files: Files without a split.
        validation: Share of the files for Validation, 0 to 1.
        test: Share of the files for Test, 0 to 1.
        seed: Seed of the draw.

    Returns:
        The same files, in the same order, with a split.

    Raises:
        DataError: If the shares leave nothing for Train.
    """
    shares = np.array([1 - validation - test, validation, test])
    if shares[0] <= 0:
        raise DataError("dataset.validation_fraction and dataset.test_fraction leave nothing for Train")
    groups: dict[str, np.ndarray] = {}
    for file in files:
        groups.setdefault(file.group, np.zeros(2))[file.label] += 1
    total = sum(groups.values(), np.zeros(2))
    filled = np.zeros((3, 2))
    split_of: dict[str, str] = {}
    names = sorted(groups)
    for number in np.random.default_rng(seed).permutation(len(names)):
        counts = groups[names[number]]
        # The split that is furthest behind its share of the classes that this group holds.
        behind = (shares[:, None] * total - filled) / np.maximum(shares[:, None] * total, 1e-9)
        chosen = int(np.argmax(behind @ counts))
        filled[chosen] += counts
        split_of[names[number]] = SPLITS[chosen]
    return [replace(file, split=split_of[file.group]) for file in files]


def read_splits(files: list[ImageFile], table: Path) -> list[ImageFile]:
    """Keep the files that a table names, in the splits that it gives them.

    Args:
        files: The files of a data set.
        table: CSV of `path,split`.

    Returns:
        Those files, in their order.

    Raises:
        DataError: If the table is not there, is not such a table, or names a file that is not there.
    """
    rows = tables.read(table, ("path", "split"))
    split_of = {path: SPLIT_NAMES.get(_plain(split), "") for path, split in rows}
    for path, split in rows:
        if not split_of[path]:
            raise DataError(f"{table}: {path} is in split {split}, which is none of {', '.join(SPLITS)}")
    missing = sorted(split_of.keys() - {file.path for file in files})
    if missing:
        raise DataError(f"{table}: {len(missing)} of its {len(rows)} images are not in the data set, like {missing[0]}")
    return [replace(file, split=split_of[file.path]) for file in files if file.path in split_of]


def take(files: list[ImageFile], limit: int) -> list[ImageFile]:
    """Keep at most `limit` images of each class in each split; a smaller limit keeps a part of a larger one's."""
    kept: dict[tuple[str, int], int] = {}
    chosen = set()
    for file in sorted(files, key=lambda file: hashlib.sha256(file.path.encode("utf-8", "surrogateescape")).digest()):
        place = (file.split, file.label)
        kept[place] = kept.get(place, 0) + 1
        if kept[place] <= limit:
            chosen.add(file.path)
    return [file for file in files if file.path in chosen]


def _folders_below(root: Path) -> Iterator[tuple[tuple[str, ...], list[os.DirEntry]]]:
    """Walk a folder, through links but never in circles, past what is hidden; yield each folder's images."""
    seen = set()
    waiting: list[tuple[str, ...]] = [()]  # not `os.walk`, which passes over folders that may not be read
    while waiting:
        folders = waiting.pop()
        place = root.joinpath(*folders)
        try:
            stat = place.stat()
            if (stat.st_dev, stat.st_ino) in seen:
                continue
            seen.add((stat.st_dev, stat.st_ino))
            with os.scandir(place) as entries:
                found = sorted((e for e in entries if not e.name.startswith(HIDDEN)), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{place}: the folder cannot be listed ({error.strerror}); mend or move it") from None
        inside = {entry.name for entry in found if _is_folder(entry)}
        waiting.extend((*folders, name) for name in sorted(inside, reverse=True))
        files = (entry for entry in found if entry.name not in inside)
        yield folders, [file for file in files if os.path.splitext(file.name)[1].lower() in SUFFIXES]


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _stamp(entry: os.DirEntry) -> tuple[int, ...]:
    try:
        return stamp(os.stat(entry))  # what the entry itself knows is not all on Windows
    except OSError:
        return ()


def _place(folders: tuple[str, ...], classes: dict[str, int]) -> tuple[tuple[str, ...], int, str] | None:
    """Return the base folder, the label and the split that a file's folders tell, or None without a label."""
    label, split, base = None, "", folders
    for depth, folder in enumerate(folders):
        name = _plain(folder)
        prefix, _, rest = name.partition("_")
        found_split = SPLIT_NAMES.get(name) or (SPLIT_NAMES.get(prefix) if rest in classes else None)
        found_label = classes.get(name, classes.get(rest) if prefix in SPLIT_NAMES or prefix.isdigit() else None)
        if found_split is None and found_label is None:
            continue
        base = min(base, folders[:depth], key=len)
        split = split or found_split or ""
        label = found_label if label is None else label
    return None if label is None else (base, label, split)


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().casefold())


def _with_groups(files: list[ImageFile], root: Path, base: tuple[str, ...]) -> list[ImageFile]:
    """Read `groups.csv` (`path,group`), which stands in the root or in the data set's own folder."""
    for folder in dict.fromkeys([root, root.joinpath(*base)]):
        table = folder / "groups.csv"
        if os.path.isfile(table):
            prefix = folder.relative_to(root).as_posix()
            prefix = "" if prefix == "." else prefix + "/"
            groups = {prefix + path: group for path, group in tables.read(table, ("path", "group"))}
            return [replace(file, group=groups.get(file.path, file.path)) for file in files]
    return files
