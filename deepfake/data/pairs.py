"""Real images beside fakes: which real image each fake is most like, so that a batch can show both."""

from dataclasses import dataclass

import cv2
import numpy as np

from deepfake.data.dataset import Split
from deepfake.data.mapped import read_rows

SIDE = 32  # of the small picture whose border is compared
BORDER = 4  # its width: a manipulation changes the face, what surrounds it is as it was filmed
LARGEST = 512  # images of one class in a group up to which the best matching is searched


@dataclass(frozen=True)
class Pairs:
    """The pairs of a split: those of a group, and the images that have no counterpart in theirs.

    Attributes:
        matched: Indices of real and fake image, int64 (M, 2).
        reals: Indices of real images without a counterpart, int64 (R,).
        fakes: Indices of fakes without one, int64 (F,).
    """

    matched: np.ndarray
    reals: np.ndarray
    fakes: np.ndarray

    def __len__(self) -> int:
        """Return the number of pairs in an epoch."""
        return len(self.matched) + max(len(self.reals), len(self.fakes))

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Draw an epoch's pairs in random order; images without a counterpart are given one by chance.

        Args:
            rng: Source of randomness.

        Returns:
            Indices of real and fake image, int64 (len(self), 2). Every image is in at least one pair.
        """
        count = len(self) - len(self.matched)
        strangers = [_cycled(found, count, rng) if count else found[:0] for found in (self.reals, self.fakes)]
        return rng.permutation(np.concatenate([self.matched, np.stack(strangers, axis=1).astype(np.int64)]))


def match(split: Split) -> Pairs:
    """Match each image with the one of the other class in its group whose surroundings are most like its own.

    Where a group has as many real images as fakes, each is in one pair, and the differences of all pairs together are
    least; where it has more of one class, those of the other are in several. Frames of a swapped video are so matched
    with the very frames that they were made of, if those are there.

    Args:
        split: Images of both classes.

    Returns:
        The pairs. In a split whose groups each have one class, no image has a counterpart.
    """
    members: dict[str, tuple[list[int], list[int]]] = {}
    for index, (group, label) in enumerate(zip(split.groups, split.labels.tolist(), strict=True)):
        members.setdefault(group, ([], []))[label].append(index)
    both = [pair for pair in members.values() if all(pair)]
    matched = [_matched(split, *map(np.array, pair)) for pair in both]
    lonely = ([i for pair in members.values() if not all(pair) for i in pair[label]] for label in (0, 1))
    reals, fakes = (np.array(found, np.int64) for found in lonely)
    if len(reals) == 0 < len(fakes):
        reals = np.flatnonzero(split.labels == 0)
    if len(fakes) == 0 < len(reals):
        fakes = np.flatnonzero(split.labels == 1)
    return Pairs(np.concatenate([np.zeros((0, 2), np.int64), *matched]), reals, fakes)


def shuffled(split: Split) -> Pairs:
    """Pair real images with fakes by chance, anew in each epoch."""
    none = np.zeros((0, 2), np.int64)
    return Pairs(none, np.flatnonzero(split.labels == 0), np.flatnonzero(split.labels == 1))


def twins(split: Split) -> Pairs:
    """Pair each real image with itself, so that the second can be made a fake; the split's own fakes are left out."""
    reals = np.flatnonzero(split.labels == 0)
    return Pairs(np.stack([reals, reals], axis=1), reals[:0], reals[:0])


def in_halves(pairs: np.ndarray, batch_size: int) -> np.ndarray:
    """Lay pairs out in batches whose first half are the real images and whose second half their fakes, in that order.

    Args:
        pairs: int64 (P, 2).
        batch_size: Even.

    Returns:
        Indices, int64 (2 * P,): a batch is `batch_size` of them, and the last one may be smaller.
    """
    starts = range(0, len(pairs), batch_size // 2)
    return np.concatenate([pairs[start : start + batch_size // 2].T.ravel() for start in starts])


def _cycled(indices: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return np.resize(rng.permutation(indices), count)


def _matched(split: Split, reals: np.ndarray, fakes: np.ndarray) -> np.ndarray:
    count = max(len(reals), len(fakes))
    reals, fakes = np.resize(reals, count), np.resize(fakes, count)
    if 1 < count <= LARGEST:
        from scipy.optimize import linear_sum_assignment

        real_borders, fake_borders = _borders(split, reals), _borders(split, fakes)
        costs = [np.abs(real_borders - border).mean(axis=1) for border in fake_borders]
        order, chosen = linear_sum_assignment(np.stack(costs))
        reals, fakes = reals[chosen], fakes[order]
    return np.stack([reals, fakes], axis=1)


def _borders(split: Split, indices: np.ndarray) -> np.ndarray:
    """Return what surrounds the face of some images, float32 (N, pixels)."""
    small = [
        cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in read_rows(split.images, indices)
    ]
    middle = slice(BORDER, SIDE - BORDER)
    outside = np.ones((SIDE, SIDE), bool)
    outside[middle, middle] = False
    return np.stack(small)[:, outside].reshape(len(indices), -1).astype(np.float32)
