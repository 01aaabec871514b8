"""Whether heat maps mark what verdicts rest on, and a sheet of them to look at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepfake.data.dataset import Split
from deepfake.data.mapped import read_rows
from deepfake.evaluation.heatmap import Explain, explainer, logit, overlay
from deepfake.models.scoring import scorer

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

HIDDEN = 0.2  # share of a picture that `deletion` hides
BLUR = 1 / 16  # sigma relative to the picture's side
DRAWS = 8  # of the shifts; on 64 images the ratio then varies by a tenth or two with the seed, `top` and `share` hardly
EACH = 8  # pictures of a kind on a sheet
KINDS = (0, 0), (1, 1), (0, 1), (1, 0)  # of its rows: the label, and what the image is called


@dataclass(frozen=True)
class Deletion:
    """What hiding parts of pictures does to a model's verdicts.

    Attributes:
        top: By how much the logit moves away from the verdict, on average, when the top fifth of the map is hidden.
        random: The same when that patch is hidden elsewhere in the picture.
        ratio: `top` / `random`, about 1 for a map that says nothing; nan where `random` is not above 0.
        share: Of the images, those in which `top` is more than `random`, 0 to 1.
        images: How many.
    """

    top: float
    random: float
    ratio: float
    share: float
    images: int


def deletion(
    logit: Callable[[np.ndarray], np.ndarray], images: np.ndarray, maps: np.ndarray, fake: np.ndarray, seed: int
) -> Deletion:
    """Check that maps mark what verdicts rest on: hiding that should cost more than hiding anything else.

    What is hidden is blurred beyond recognition. That leaves light and colour as they are, so that the hiding itself
    says little: on the seed's net, blurring a random fifth moves the logit by 10 % of its mean size, and a patch of the
    picture's mean colour by 20 %. For comparison the same patches are hidden elsewhere in the picture, shifted at
    random and around its borders, so that they have the same size and grain.

    Args:
        logit: From images (N, size, size, 3), uint8, to logits, (N,).
        images: Such images, N of 1 or more.
        maps: Theirs, (N, size, size), 0 to 1.
        fake: Their verdicts, (N,) bools, True for Fake, which the maps explain.
        seed: Of the shifts.

    Returns:
        What it does.
    """
    from deepfake.augmentation.degradation import blur

    rng = np.random.default_rng(seed)
    blurred = np.stack([blur(image, images.shape[1] * BLUR) for image in images])
    before, sign = logit(images), np.where(fake, 1, -1)

    def lost(hidden: np.ndarray) -> np.ndarray:
        return sign * (before - logit(np.where(hidden[..., None], blurred, images)))

    marked = _hottest(maps, rng)
    top, random = lost(marked), np.mean([lost(_elsewhere(marked, rng)) for _ in range(DRAWS)], axis=0)
    ratio = top.mean() / random.mean() if random.mean() > 0 else np.nan
    return Deletion(float(top.mean()), float(random.mean()), float(ratio), float(np.mean(top > random)), len(images))


def check(model: "keras.Model", split: Split, fake: np.ndarray, limit: int, seed: int) -> Deletion:
    """Check a model's heat maps on images of a split.

    Args:
        model: As `explainer` takes it.
        split: The images.
        fake: The model's verdicts on all of them, (N,) bools, True for Fake.
        limit: At most this many images of each class, evenly spread.
        seed: Of what is drawn at random.

    Returns:
        What `deletion` finds.
    """
    import keras

    rows = np.concatenate([spread(np.flatnonzero(split.labels == label), limit) for label in (0, 1)])
    images, fake = read_rows(split.images, rows), fake[rows]
    return deletion(scorer(keras.Model(model.input, logit(model))), images, explainer(model)(images, fake), fake, seed)


def spread(rows: np.ndarray, limit: int | None) -> np.ndarray:
    """Return at most `limit` of (N,) indices, evenly spread; all of them where it is None."""
    return rows if limit is None or limit >= len(rows) else rows[np.arange(limit) * len(rows) // limit]


def most_confident(
    images: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    explain: Explain,
    class_names: Sequence[str],
) -> "Figure":
    """Draw the verdicts that a detector is surest of, and what speaks for them.

    Args:
        images: (N, size, size, 3), uint8 RGB, which may be mapped from the disk.
        labels: (N,) integers, 0 for Real and 1 for Fake.
        scores: (N,) floats, P(fake), 0 to 1.
        threshold: The score from which an image is called Fake, 0 to 1.
        explain: Of `explainer`.
        class_names: Of class 0 and of class 1.

    Returns:
        A sheet of up to eight pictures each, above their overlays, in a row of their own: Real and Fake that are
        called so, then Real called Fake and Fake called Real. A row without pictures is left out.
    """
    from deepfake.evaluation import plots

    labels, fake = np.asarray(labels), np.asarray(scores) >= threshold
    surest = np.argsort(np.where(fake, -scores, scores), kind="stable")
    kinds = [surest[(labels[surest] == label) & (fake[surest] == called)][:EACH] for label, called in KINDS]
    kinds = [kind for kind in kinds if len(kind)]
    columns = max(map(len, kinds), default=1)
    places = np.array([[*kind, *[-1] * (columns - len(kind))] for kind in kinds], int).ravel()  # -1: left white
    chosen = places[places >= 0]
    seen = read_rows(images, chosen)
    tiles = np.full((len(places), 2 * seen.shape[1], *seen.shape[2:]), 255, np.uint8)
    tiles[places >= 0] = np.concatenate([seen, overlay(seen, explain(seen, fake[chosen]))], axis=1)
    captions = [_caption(labels[i], fake[i], scores[i], class_names) if i >= 0 else "" for i in places]
    return plots.sheet(tiles, captions, "The surest verdicts, right and wrong, and what speaks for them", columns)


def _hottest(maps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mark the `HIDDEN` share of each map that is highest, (N, size, size) bools; of what is alike, any."""
    flat = maps.reshape(len(maps), -1)
    flat = flat + 1e-6 * rng.random(flat.shape)
    count = round(HIDDEN * flat.shape[1])
    marked = np.zeros(flat.shape, bool)
    np.put_along_axis(marked, np.argpartition(-flat, count, axis=1)[:, :count], True, axis=1)
    return marked.reshape(maps.shape)


def _elsewhere(marked: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.stack([np.roll(one, rng.integers(0, one.shape), (0, 1)) for one in marked])


def _caption(label: int, fake: bool, score: float, class_names: Sequence[str]) -> str:
    verdict = "right" if label == fake else f"called {class_names[int(fake)]}"
    return f"{class_names[label]}, {verdict}\nP({class_names[1].lower()}) {score:.2f}"
