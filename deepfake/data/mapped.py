"""Pixels, or what stands for them, that are mapped from the disk, read without holding them all."""

import mmap

import numpy as np


def read_rows(images: np.ndarray, rows: slice | np.ndarray) -> np.ndarray:
    """Copy some images, and let the system have the memory through which they were read.

    Pages of a mapped file count as this process's own until they are given back, so that a training would come to hold
    the whole data set. The system keeps them cached as long as it has room.

    Args:
        images: Shape (N, ...); as `decode` returns them, a slice of that, or any array.
        rows: A slice, or indices of shape (M,), integers.

    Returns:
        Shape (M, ...), of the same type, contiguous, in memory.
    """
    found = np.asarray(images)[rows]
    copy = found.copy() if isinstance(rows, slice) else np.ascontiguousarray(found)
    mapped = getattr(images, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)  # a thread that reads there now reads on: the page comes back
    return copy
