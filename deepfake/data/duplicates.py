"""Find the images of a data set that are copies of each other, without comparing every image with every other.

Each of three steps looks at fewer pairs, more closely:

1. *Search.* A picture is described by its lowest frequencies, as perceptual hashes do (Zauner 2010, "Implementation and
   Benchmarking of Perceptual Image Hash Functions"): all of it, and a grid of rectangles in it. Whole pictures, and
   their mirror images, then find the rectangles that look most like them, in an inverted file (Jégou, Douze and Schmid
   2011, "Product Quantization for Nearest Neighbor Search"), under a metric learnt from the images (Fisher 1936).
2. *Alignment.* The rectangle is moved until it shows what the other picture shows, by Gauss-Newton steps (Lucas and
   Kanade 1981) over ever finer frequencies.
3. *Decision.* The correlation of what then lies on each other is the similarity; brightness and contrast drop out.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from threadpoolctl import threadpool_limits

from deepfake import threads

SIDE = 64  # a thumbnail's side in pixels
FLAT = 2.0  # grey levels; a thumbnail whose standard deviation is smaller shows nothing to recognise it by
ALIKE = 0.992  # similarity from which on two pictures are one; another frame of the same video stays below it
WHOLE = 0.97  # share of both sides from which on a copy shows the whole picture, and is no crop

NEIGHBOURS = 10  # pictures that are looked at closely, for each picture
SCALES = ((1.0, 1), (0.93, 2), (0.85, 3), (0.75, 4), (0.68, 5))  # sides of the grid's rectangles, and places along each
COARSE = 6  # waves along each side that the search knows: 0 to 5 half periods
DIMENSIONS = 24  # of the search
PROBES = 8  # cells of the inverted file in which a picture is looked up
KEPT = 12  # rectangles that are kept of each of them
FINER = (6, 6, 8, 12, 16, 16)  # waves along each side in each step of the alignment
PROMISING = 0.85  # correlation that a step of the alignment must promise for another one to follow
FARTHEST = 0.08  # share of the side by which a step moves an edge at most: farther, the waves do not change linearly
CHUNK = 256  # pictures or pairs that are worked on at once

Array = np.ndarray


Kind = Literal["exact", "near", "mirrored", "crop"]


@dataclass(frozen=True)
class Pair:
    """Two images of one picture.

    Attributes:
        a: Index of the first.
        b: Index of the second, larger than `a`.
        kind: `exact`: the same file. `near`: the whole picture, saved anew, resized, brighter or of other contrast.
            `mirrored`: the same, with left and right exchanged. `crop`: they share a part of it; one may be mirrored.
        similarity: Correlation of what they share, `ALIKE` to 1.
    """

    a: int
    b: int
    kind: Kind
    similarity: float


class Candidates(NamedTuple):
    """Pairs of pictures that may be copies.

    Attributes:
        whole: Index of a picture, shape (M,).
        part: Index of another picture, of which a part may show the first, shape (M,).
        mirrored: Whether it would show the first one's mirror image, shape (M,), bool.
        place: Where: left, top, width and height in the second picture, as shares of its side, shape (M, 4), float32.
    """

    whole: Array
    part: Array
    mirrored: Array
    place: Array

    def take(self, rows: Array | slice) -> "Candidates":
        """Return some of them."""
        return Candidates(*(column[rows] for column in self))


def thumbnail(pixels: Array) -> Array:
    """Shrink a picture to what `find` compares.

    Args:
        pixels: Upright RGB, shape (H, W, 3), uint8, of any size.

    Returns:
        The whole picture in grey, squashed, shape (SIDE, SIDE), uint8.
    """
    return cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def find(thumbnails: Array, digests: Sequence[str]) -> list[Pair]:
    """Find copies: the same file, saved anew, resized, brighter, mirrored, or cropped to 70 % of its sides and more.

    Of k copies of one picture, k - 1 pairs are returned, the most alike ones that join them all. Pictures without
    contrast are compared by their digests alone. The time grows with N^1.5 at most, the memory with N: 20,000 pictures
    take some 12 seconds of a core, and half a gigabyte.

    Args:
        thumbnails: Shape (N, SIDE, SIDE), uint8, as `thumbnail` makes them; may be mapped from the disk.
        digests: SHA-256 of the N files.

    Returns:
        The pairs, the most alike first.
    """
    first: dict[str, int] = {}
    same = [(first.setdefault(digest, index), index) for index, digest in enumerate(digests)]
    exact = [Pair(a, b, "exact", 1.0) for a, b in same if a != b]
    rows = np.array([row for row in first.values() if thumbnails[row].std() >= FLAT], int)
    if len(rows) < 2:
        return exact
    pictures = thumbnails[rows]
    with threadpool_limits(1, "blas"):  # `_in_parallel` shares out the cores already
        candidates, similarity = align(pictures, search(pictures))
    alike = similarity >= ALIKE
    return exact + _joined(candidates.take(alike), similarity[alike], rows)


# --------------------------------------------------------------------------------------------------------------- search


def search(pictures: Array) -> Candidates:
    """Find, for each picture, others that look like it or its mirror image, whole or in part.

    Args:
        pictures: Shape (N, SIDE, SIDE), uint8, N at least 2, none of them flat.

    Returns:
        At most `NEIGHBOURS` candidates for each picture.
    """
    rng = np.random.default_rng(0)
    grid = _grid()
    metric = _metric(pictures, grid, rng)
    parts = np.empty((len(pictures), len(grid), DIMENSIONS), "f4")
    wholes = np.empty((len(pictures), 2, DIMENSIONS), "f4")

    def describe(rows: slice) -> None:
        parts[rows] = _describe(pictures[rows], grid) @ metric
        wholes[rows, 0] = parts[rows, 0]  # the grid's first rectangle is the whole picture
        wholes[rows, 1] = (_describe(pictures[rows, :, ::-1], grid[:1]) @ metric)[:, 0]

    _in_chunks(describe, len(pictures))
    whole, part, mirrored = _look_up(wholes, parts, rng)

    def best(rows: slice) -> Array:
        return np.square(parts[part[rows]] - wholes[whole[rows], mirrored[rows], None]).sum(2).argmin(1)

    place = grid[np.concatenate(_in_chunks(best, len(whole)))]
    return Candidates(whole, part, mirrored.astype(bool), place)


def _grid() -> Array:
    """Return rectangles of a picture, shape (R, 4): left, top, width, height, as shares of its side."""
    places = [(scale, np.linspace(0, 1 - scale, steps)) for scale, steps in SCALES]
    return np.array([(x, y, scale, scale) for scale, along in places for x in along for y in along], "f4")


def _describe(pictures: Array, rectangles: Array) -> Array:
    """Return the coarse waves in rectangles of pictures, to unit length, shape (N, R, COARSE**2), float32."""
    pictures = pictures.astype("f4")
    across, down = _waves(rectangles, COARSE)
    waves: Array = np.empty((len(pictures), len(rectangles), COARSE, COARSE), "f4")
    columns, column_of = np.unique(rectangles[:, [0, 2]], axis=0, return_inverse=True)
    for column in range(len(columns)):  # what rectangles above each other share is computed once
        rows = np.flatnonzero(column_of == column)
        strips = pictures @ across[rows[0], 0].T
        waves[:, rows] = (down[rows, 0].reshape(-1, SIDE) @ strips).reshape(len(pictures), -1, COARSE, COARSE)
    waves[:, :, 0, 0] = 0  # the brightness
    waves = waves.reshape(*waves.shape[:2], -1)
    return waves / (np.linalg.norm(waves, axis=2, keepdims=True) + 1e-6)


def _metric(pictures: Array, grid: Array, rng: Generator) -> Array:
    """Learn in which coarse waves pictures differ more than a rectangle does from the nearest one of the grid.

    Returns:
        Fisher's discriminant directions, shape (COARSE**2, DIMENSIONS), float32. Along each of them, a rectangle
        differs from the grid's nearest one by 1 on average.
    """
    sides = np.minimum(rng.uniform(grid[-1, 2], 1, (40, 1)) * np.exp(rng.uniform(-0.05, 0.05, (40, 1)) * [1, -1]), 1)
    drawn = np.concatenate([rng.uniform(0, 1, (40, 2)) * (1 - sides), sides], 1).astype("f4")
    to_edges = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]])
    nearest = np.square((drawn[:, None] - grid) @ to_edges).sum(2).argmin(1)
    sample = pictures[np.sort(rng.permutation(len(pictures))[:500])]
    waves = _describe(sample, np.concatenate([drawn, grid[nearest]]))[:, :, 1:].astype("f8")
    there, beside = (half.reshape(-1, COARSE**2 - 1) for half in np.split(waves, 2, axis=1))
    within = (there - beside).T @ (there - beside) / len(there) + 1e-5 * np.eye(COARSE**2 - 1)
    whiten = np.linalg.inv(np.linalg.cholesky(within))
    _, directions = np.linalg.eigh(whiten @ np.cov(there.T) @ whiten.T)  # the most telling last
    return np.pad(whiten.T @ directions[:, -DIMENSIONS:], ((1, 0), (0, 0))).astype("f4")


def _look_up(wholes: Array, parts: Array, rng: Generator) -> tuple[Array, Array, Array]:
    """Find the parts of others that are nearest to whole pictures, through an inverted file.

    Args:
        wholes: Shape (N, 2, DIMENSIONS), float32: each picture and its mirror image.
        parts: Shape (N, R, DIMENSIONS), float32.
        rng: Draws the cells.

    Returns:
        Index of a picture, index of another one, and 1 where that is near the mirror image of the first, else 0; each
        of shape (M,).
    """
    asked, points = wholes.reshape(-1, DIMENSIONS), parts.reshape(-1, DIMENSIONS)
    centres = _centres(points, rng)
    members = _by_cell(_nearest(points, centres, 1), len(centres))
    probed = _nearest(asked, centres, PROBES)
    slots = _by_cell(probed, len(centres))
    # A cell full of copies of one picture would take quadratic time. A share of them is enough to be joined to.
    most = 8 * len(points) // len(centres)
    found = np.full((probed.size, KEPT), -1, "i4")  # twice the picture, and 1 for the mirror image
    distances = np.full(found.shape, np.inf, "f4")

    def look(cell: int) -> None:
        inside = members[cell][:: len(members[cell]) // most + 1]
        pictures, asking = inside // parts.shape[1], slots[cell] // probed.shape[1]
        far = np.square(points[inside]).sum(1) - 2 * (asked[asking] @ points[inside].T)
        far[pictures == asking[:, None] // 2] = np.inf  # a picture itself
        kept = _smallest(far, KEPT)
        far = np.take_along_axis(far, kept, 1) + np.square(asked[asking]).sum(1, keepdims=True)
        distances[slots[cell], : kept.shape[1]] = far
        found[slots[cell], : kept.shape[1]] = np.where(np.isfinite(far), pictures[kept] * 2 + asking[:, None] % 2, -1)

    _in_parallel(look, range(len(centres)))
    found, distances = (table.reshape(len(wholes), -1) for table in (found, distances))
    nearest = np.concatenate(_in_chunks(lambda rows: _nearest_keys(found[rows], distances[rows]), len(wholes)))
    whole, column = np.nonzero(nearest >= 0)
    return whole, nearest[whole, column] // 2, nearest[whole, column] % 2


def _nearest_keys(keys: Array, distances: Array) -> Array:
    """Return in each row the `NEIGHBOURS` different keys of the smallest distances, shape (n, columns), else -1."""
    order = np.argsort(distances, axis=1)
    keys = np.take_along_axis(keys, order, 1)
    by_key = np.argsort(keys, axis=1, kind="stable")
    ordered = np.take_along_axis(keys, by_key, 1)
    new = np.concatenate([np.ones_like(ordered[:, :1], bool), ordered[:, 1:] != ordered[:, :-1]], 1) & (ordered >= 0)
    first = np.empty_like(new)
    np.put_along_axis(first, by_key, new, 1)
    return np.where(first & (np.cumsum(first, 1) <= NEIGHBOURS), keys, -1)


def _centres(points: Array, rng: Generator) -> Array:
    """Return about sqrt(n) centres of cells, by two rounds of Lloyd's k-means on a sample of the points."""
    count = int(np.sqrt(len(points)))
    sample = points[rng.integers(0, len(points), 32 * count)]
    centres = sample[:count]
    for _ in range(2):
        nearest = _nearest(sample, centres, 1)[:, 0]
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, sample)
        sizes = np.bincount(nearest, minlength=count)[:, None]
        centres = np.where(sizes > 0, sums / np.maximum(sizes, 1, dtype="f4"), centres)
    return centres


def _nearest(points: Array, centres: Array, count: int) -> Array:
    """Return the `count` nearest centres of each point, in any order, shape (n, count); all where there are fewer."""
    half = np.square(centres).sum(1) / 2
    return np.concatenate(_in_chunks(lambda rows: _smallest(half - points[rows] @ centres.T, count), len(points)))


def _smallest(table: Array, count: int) -> Array:
    """Return the columns of the `count` smallest values in each row, in any order."""
    if count == 1:
        return table.argmin(1)[:, None]  # much faster
    if count >= table.shape[1]:
        return np.broadcast_to(np.arange(table.shape[1]), table.shape)
    return np.argpartition(table, count - 1, axis=1)[:, :count].copy()  # a view would hold all of it


def _by_cell(cell_of: Array, count: int) -> list[Array]:
    """Return the flat indices that hold each cell's number."""
    order = np.argsort(cell_of, axis=None, kind="stable")
    return np.split(order, np.searchsorted(cell_of.ravel()[order], np.arange(1, count)))


# ------------------------------------------------------------------------------------------------------------ alignment


def align(pictures: Array, candidates: Candidates) -> tuple[Candidates, Array]:
    """Move the places of candidates until both pictures show the same.

    Args:
        pictures: Shape (N, SIDE, SIDE), uint8.
        candidates: As `search` finds them.

    Returns:
        The candidates for which that led anywhere, at their new places, which may reach beyond the picture's edge, and
        the correlation of what both show there, shape (M,), -1 to 1, float32.
    """
    done = _in_chunks(lambda rows: _align(pictures, candidates.take(rows)), len(candidates.whole))
    aligned, similarity = zip(*done, strict=True)
    return Candidates(*map(np.concatenate, zip(*aligned, strict=True))), np.concatenate(similarity)


def _align(pictures: Array, candidates: Candidates) -> tuple[Candidates, Array]:
    for count in FINER:
        wholes = pictures[candidates.whole]
        wholes[candidates.mirrored] = wholes[candidates.mirrored, :, ::-1]
        now, promised, place = _step(wholes, pictures[candidates.part], candidates.place, count)
        kept = promised >= PROMISING
        candidates, now = candidates._replace(place=place).take(kept), now[kept]
    return candidates, now


def _step(wholes: Array, others: Array, place: Array, count: int) -> tuple[Array, Array, Array]:
    """Take a Gauss-Newton step of the places of pictures in others.

    Args:
        wholes: Shape (n, SIDE, SIDE), uint8.
        others: Pictures of which a part may show `wholes`, shape (n, SIDE, SIDE), uint8.
        place: Where, shape (n, 4), float32.
        count: Waves along each side that are compared.

    Returns:
        The correlation at these places, the one that a small move promises, each of shape (n,), and the moved places.
    """
    inner, outer = _overlap(place)
    across, down = _waves(inner, count)
    # Natural pictures have less of a wave in proportion to its frequency (Field 1987): all frequencies are to count.
    weight = np.hypot(*np.mgrid[:count, :count]).astype("f4")
    wanted = down[:, 0] @ wholes.astype("f4") @ across[:, 0].transpose(0, 2, 1)
    wanted = (wanted * weight).reshape(len(place), count**2, 1)
    shown = (_with_slopes(others, outer, count) * weight).reshape(len(place), 5, count**2)
    # Least squares: wanted = contrast * (shown + move * slopes), with all columns scaled to unit length.
    length = np.linalg.norm(shown, axis=2, keepdims=True) + 1e-6
    power = np.linalg.norm(wanted, axis=1) + 1e-6
    shown, wanted = shown / length, wanted / power[:, None]
    cosines = shown @ wanted
    found = np.linalg.solve(shown @ shown.transpose(0, 2, 1) + 1e-4 * np.eye(5, dtype="f4"), cosines)
    promised = np.sqrt(np.clip((found * cosines).sum(1), 0, 1))[:, 0]
    found = (found / length)[:, :, 0]
    contrast = np.where(np.abs(found[:, :1]) < 1e-9, 1e-9, found[:, :1])
    move = np.clip(found[:, 1:] / contrast, -FARTHEST, FARTHEST)
    return cosines[:, 0, 0], promised, _extended(inner, outer + move)


def _with_slopes(pictures: Array, rectangles: Array, count: int) -> Array:
    """Return waves in a rectangle and their change with left, top, width and height, shape (n, 5, count, count)."""
    across, down = _waves(rectangles, count)
    strips = pictures.astype("f4") @ across.reshape(-1, 3 * count, SIDE).transpose(0, 2, 1)
    vertical = (down.reshape(-1, 3 * count, SIDE) @ strips[:, :, :count]).reshape(-1, 3, count, count)
    horizontal = down[:, 0] @ strips[:, :, count:]
    left, width = horizontal[:, :, :count], horizontal[:, :, count:]
    return np.stack([vertical[:, 0], left, vertical[:, 1], width, vertical[:, 2]], 1)


def _overlap(place: Array) -> tuple[Array, Array]:
    """Return which part of the whole picture lies in the other one, and where; both as shares of the own side."""
    start, end = np.maximum(place[:, :2], 0), np.minimum(place[:, :2] + place[:, 2:], 1)
    inner = np.concatenate([start - place[:, :2], end - start], 1) / np.tile(place[:, 2:], 2)
    return inner, np.concatenate([start, end - start], 1)


def _extended(inner: Array, outer: Array) -> Array:
    """Return the place of a whole picture whose part `inner` lies at `outer`, held within what can be a copy."""
    sides = np.clip(outer[:, 2:] / inner[:, 2:], 0.55, 1.05)
    return np.concatenate([np.clip(outer[:, :2] - inner[:, :2] * sides, -0.2, 1.2 - sides), sides], 1).astype("f4")


def _waves(rectangles: Array, count: int) -> tuple[Array, Array]:
    """Return cosine waves along the sides of rectangles, which multiplied with a picture give its frequencies there.

    Args:
        rectangles: Left, top, width and height, as shares of the side, shape (n, 4), float32.
        count: Waves, of 0, 1, ... half periods.

    Returns:
        Across and down: the waves, averaged over each pixel, and their change with the rectangle's start and with its
        length; each of shape (n, 3, count, SIDE), float32.
    """
    starts, lengths = rectangles[:, :2, None, None], rectangles[:, 2:, None, None]
    edges = np.clip((np.arange(SIDE + 1, dtype="f4") / SIDE - starts) / lengths, 0, 1)
    number = np.arange(count, dtype="f4")[:, None]
    height = np.where(number == 0, 1, np.sqrt(2)).astype("f4")
    angle = np.float32(np.pi) * number * edges
    integral = np.where(number == 0, edges, height * np.sin(angle) / np.maximum(np.float32(np.pi) * number, 1))
    slope = height * np.cos(angle) * ((edges > 0) & (edges < 1)) / -lengths
    waves = np.diff(np.stack([integral, slope, slope * edges], 2))
    return waves[:, 0], waves[:, 1]


# ---------------------------------------------------------------------------------------------------------------- pairs


def _joined(candidates: Candidates, similarity: Array, rows: Array) -> list[Pair]:
    """Return the pairs of Kruskal's spanning forest (1956): the most alike ones that join all that belongs together."""
    parent = list(range(len(rows)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    shared = np.minimum(*(rectangle[:, 2:].min(1) for rectangle in _overlap(candidates.place)))
    pairs = []
    for number in np.argsort(-similarity, kind="stable"):
        a, b = root(int(candidates.whole[number])), root(int(candidates.part[number]))
        if a != b:
            parent[a] = b
            kind: Kind = "crop" if shared[number] < WHOLE else "mirrored" if candidates.mirrored[number] else "near"
            first, second = sorted((int(rows[candidates.whole[number]]), int(rows[candidates.part[number]])))
            pairs.append(Pair(first, second, kind, min(float(similarity[number]), 1.0)))
    return pairs


def _in_chunks(work: Callable[[slice], Any], length: int) -> list:
    """Do the work for slices of `length` rows."""
    return _in_parallel(work, [slice(start, start + CHUNK) for start in range(0, length, CHUNK)])


def _in_parallel(work: Callable[[Any], Any], items: Iterable) -> list:
    with ThreadPoolExecutor(threads.count()) as pool:
        return list(pool.map(work, items))
