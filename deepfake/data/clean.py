"""A data set without the faults that can be mended: other splits, fewer files, or a copy that is encoded alike.

The originals are never touched.
"""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from deepfake import threads
from deepfake.config import SPLITS
from deepfake.data import tables
from deepfake.data.cache import Decoded, Geometry
from deepfake.data.duplicates import Pair
from deepfake.data.images import read, square
from deepfake.data.index import ImageFile
from deepfake.errors import DataError, ImageError

QUALITY = 90  # of the JPEGs that are written


def clean(decoded: Decoded, pairs: Sequence[Pair]) -> list[ImageFile]:
    """Choose the files to use, and the split of each.

    Of identical files one is left, or none where they stand in both classes. Copies, whatever their kind, and images of
    one group go into one split: of those in which they stand, the one that lacks most.

    Args:
        decoded: The readable files.
        pairs: Copies among them.

    Returns:
        The chosen files, in their order.
    """
    files, count = decoded.files, len(decoded.files)
    label_of: dict[str, set[int]] = {}
    for file, digest in zip(files, decoded.hashes, strict=True):
        label_of.setdefault(digest, set()).add(file.label)
    seen: set[str] = set()
    kept = []
    for number, digest in enumerate(decoded.hashes):
        if len(label_of[digest]) == 1 and digest not in seen:
            kept.append(number)
        seen.add(digest)
    # Images that belong together: copies, and members of a group, as a graph.
    groups = np.unique([file.group for file in files], return_inverse=True)[1] + count
    a = np.concatenate([np.array([pair.a for pair in pairs], int), np.arange(count)])
    b = np.concatenate([np.array([pair.b for pair in pairs], int), groups])
    size = int(b.max(initial=0)) + 1
    _, family_of = connected_components(coo_array((np.ones(len(a)), (a, b)), (size, size)), directed=False)
    return _settle([files[number] for number in kept], family_of[kept])


def _settle(files: Sequence[ImageFile], family_of: np.ndarray) -> list[ImageFile]:
    """Give every family one split, so that the splits keep their sizes and classes as far as they can."""
    number_of = {name: number for number, name in enumerate(SPLITS)}
    _, family_of = np.unique(family_of, return_inverse=True)
    counts = np.zeros((family_of.max(initial=-1) + 1, 3, 2))
    for file, family in zip(files, family_of, strict=True):
        counts[family, number_of[file.split], file.label] += 1
    stands = counts.max(axis=2) > 0
    chosen = stands.argmax(axis=1)
    target, torn = counts.sum(axis=0), stands.sum(axis=1) > 1
    filled = counts[~torn].sum(axis=0)
    for family in sorted(np.flatnonzero(torn), key=lambda family: -counts[family].sum()):
        members = counts[family].sum(axis=0)
        lacks = ((target - filled) / np.maximum(target, 1)) @ members
        chosen[family] = np.where(stands[family], lacks, -np.inf).argmax()
        filled[chosen[family]] += members
    return [replace(file, split=SPLITS[chosen[family]]) for file, family in zip(files, family_of, strict=True)]


def write_splits(path: Path, files: Sequence[ImageFile]) -> None:
    """Write a table of `path,split`, which `dataset.split_file` takes."""
    tables.write(path, ("path", "split"), [(file.path, file.split) for file in files])


def reencode(
    root: Path, files: Sequence[ImageFile], geometry: Geometry, folder: Path, class_names: Sequence[str]
) -> None:
    """Write a copy of a data set whose files differ in nothing but the picture: JPEGs of one size and quality.

    What an earlier compression left in the pixels stays there.

    Args:
        root: Folder of the originals.
        files: Which of them, and their splits.
        geometry: The square into which each is fitted.
        folder: Where to; it must not exist yet.
        class_names: Of the negative and the positive class.

    Raises:
        DataError: If `folder` exists, or a file cannot be read any more or written.
    """
    if folder.exists():
        raise DataError(f"{folder} is there already: remove it, or choose another place with --out")
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    places: dict[str, ImageFile] = {}
    for file in files:
        name = f"{file.split}/{class_names[file.label]}/{Path(file.path).stem}"
        while name in places:
            name += "_"
        places[name] = file
    for place in {Path(name).parent for name in places}:
        (partial / place).mkdir(parents=True)

    def write(name: str) -> None:
        try:
            picture = square(read(root / places[name].path), geometry.size, geometry.resize)
            Image.fromarray(picture).save(partial / f"{name}.jpg", quality=QUALITY)
        except ImageError as error:
            raise DataError(f"{root / places[name].path}: {error}; it could be read before") from None
        except OSError as error:
            raise DataError(f"{partial}: images cannot be written there ({error.strerror or error})") from None

    with ThreadPoolExecutor(threads.count()) as pool:
        list(pool.map(write, places))
    known = [(f"{name}.jpg", file.group) for name, file in places.items() if file.group != file.path]
    if known:
        tables.write(partial / "groups.csv", ("path", "group"), known)
    partial.rename(folder)
