"""Which parts of a picture a verdict rests on: heat maps, a check that they mean something, and a sheet of them.

A map is that of HiResCAM (Draelos & Carin 2020, arXiv:2011.08891): at one layer, each feature times the gradient of the
logit there, summed over the features of a cell. Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) first averages that
gradient over the picture. At a last layer that is averaged over the picture the two are the same; where a Flatten
follows, a feature that speaks for Fake here and for Real there is averaged away. It is the logit that is explained, as
the gradient of P(fake) vanishes where a model is sure.

How many times as much of its verdict a model takes back when the fifth of a picture that its map marks is hidden as
when another fifth is, and in what share of 120 Test images it is more (`deletion`); on the right the model's AUC:

    model          images           Grad-CAM, last layer   HiResCAM, last layer   HiResCAM, as here     AUC
    cnn            StyleGAN, 128 px       0.9,  48 %             9.5, 100 %          10.0, 100 %       0.72
    cnn            drawn, 64 px           2.4,  65 %             6.0,  84 %           6.7,  88 %       0.96
    cnn_bn         StyleGAN, 128 px       3.0,  80 %             3.0,  80 %           8.3, 100 %       0.63
    cnn_bn         drawn, 64 px           3.1,  81 %             3.1,  81 %           7.5, 100 %       0.96
    meso4          StyleGAN, 128 px       2.1,  78 %             5.3,  77 %           6.0,  85 %       0.61
    meso4          drawn, 128 px          0.8,  47 %             4.6,  86 %           4.7,  88 %       0.99
    mobilenet_v3   StyleGAN, 128 px      -0.1,  48 %            -0.1,  48 %           8.0, 100 %       0.59
    mobilenet_v3   drawn, 128 px         -0.2,  34 %            -0.2,  34 %          10.4,  95 %       0.94
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepfake.data import Split
from deepfake.data.cache import read_rows
from deepfake.errors import ModelError
from deepfake.models.scoring import BATCH, scorer

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

Explain = Callable[[np.ndarray, np.ndarray], np.ndarray]

# Cells along a side: of the layer that is explained, at least, and of the map, at most. Deep layers see the whole
# picture in every cell and say little of where; early ones say it of single pixels, which are summed to be seen.
CELLS, GRID = 24, 16
HIDDEN = 0.2  # share of a picture that `deletion` hides
BLUR = 1 / 16  # sigma relative to the picture's side
DRAWS = 8  # of the shifts; on 64 images the ratio then varies by a tenth or two with the seed, `top` and `share` hardly
EACH = 8  # pictures of a kind on a sheet
KINDS = (0, 0), (1, 1), (0, 1), (1, 0)  # of its rows: the label, and what the image is called
COLOURS, OPACITY = "inferno", 0.75


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


def explainer(model: "keras.Model") -> Explain:
    """Compile the heat maps of a model.

    Args:
        model: A functional model of stock layers, one of which, `logit`, gives the logit of P(fake), (N, 1).

    Returns:
        A function from images (N, size, size, 3), uint8, which may be mapped from the disk, and their verdicts, (N,)
        bools, True for Fake, to maps (N, size, size), float32, 0 to 1. High is what speaks for the verdict: what raises
        the logit of a Fake, what lowers that of a Real. A picture's strongest cell is 1, however little it says;
        where nothing speaks for the verdict, the map is 0 everywhere.

    Raises:
        ModelError: If the model has no such layer.
    """
    import keras
    import tensorflow as tf

    inner = keras.Model(model.input, [_logit(model), feature_layer(model).output])
    _, *shape, channels = model.input_shape
    pixels = tf.TensorSpec((None, *shape, channels), tf.uint8)

    @tf.function(input_signature=[pixels, tf.TensorSpec((None,), tf.bool)])
    def forward(batch: "tf.Tensor", fake: "tf.Tensor") -> "tf.Tensor":
        logit, features = inner(tf.cast(batch, model.inputs[0].dtype), training=False)
        evidence = tf.where(fake, logit[:, 0], -logit[:, 0])
        product = features * tf.gradients(evidence, features)[0]
        heat = tf.reduce_sum(product, axis=-1, keepdims=True)
        heat = tf.image.resize(heat, np.minimum(heat.shape[1:3], GRID), "area")  # for and against, balanced
        heat = tf.image.resize(tf.nn.relu(heat), shape)[..., 0]
        return tf.math.divide_no_nan(heat, tf.reduce_max(heat, axis=(1, 2), keepdims=True))

    def explain(images: np.ndarray, fake: np.ndarray) -> np.ndarray:
        chunks = [slice(start, start + BATCH) for start in range(0, len(images), BATCH)]
        parts = [forward(read_rows(images, chunk), np.asarray(fake[chunk], bool)).numpy() for chunk in chunks]
        return np.concatenate(parts) if parts else np.zeros((0, *shape), np.float32)

    return explain


def feature_layer(model: "keras.Model") -> "keras.Layer":
    """Find the layer whose features are explained.

    It is the last of those that all of the picture goes through, with no branch past it, and that have at least `CELLS`
    cells along a side, or else as many as there are. At 128 px that is cnn's last pooling (30 x 30), and in the rest of
    the model group a layer of 31 x 31 or 32 x 32, which the deep networks halve two or three times more.

    Args:
        model: A functional model.

    Returns:
        The layer; its output is (N, rows, columns, features).
    """
    from keras import layers

    maps = [layer for layer in _bottlenecks(model) if len(layer.output.shape) == 4]
    maps = [layer for layer in maps if not isinstance(layer, layers.ZeroPadding2D)]  # whose cells lie elsewhere
    least = min(CELLS, max(_cells(layer) for layer in maps))
    return next(layer for layer in reversed(maps) if _cells(layer) >= least)


def overlay(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Lay heat over pictures.

    Args:
        images: (N, size, size, 3), uint8 RGB.
        maps: (N, size, size), 0 to 1.

    Returns:
        (N, size, size, 3), uint8 RGB: the picture in grey, and over it, the denser the hotter, colours from dark to
        light that tell as much to the colour-blind.
    """
    from matplotlib import colormaps

    grey = images @ np.array([0.299, 0.587, 0.114])  # luma of ITU-R BT.601
    heat = 255 * colormaps[COLOURS](maps)[..., :3]
    density = OPACITY * maps[..., None]
    return (grey[..., None] * (1 - density) + heat * density).round().astype(np.uint8)


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
    logit = scorer(keras.Model(model.input, _logit(model)))
    return deletion(logit, images, explainer(model)(images, fake), fake, seed)


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


def _logit(model: "keras.Model") -> "keras.KerasTensor":
    layer = next((layer for layer in model.layers if layer.name == "logit"), None)
    if layer is None:
        raise ModelError("the model has no layer `logit`, so its verdicts cannot be explained")
    return layer.output


def _bottlenecks(model: "keras.Model") -> list["keras.Layer"]:
    """Return the layers, in their order, whose output is all that later layers get from them and those before."""
    from keras import layers, tree

    place = {id(layer.output): number for number, layer in enumerate(model.layers)}
    found, earliest = [], len(model.layers)  # the earliest layer whose output those after `number` take
    for number, layer in reversed(list(enumerate(model.layers))):
        if earliest >= number:
            found.append(layer)
        if not isinstance(layer, layers.InputLayer):
            earliest = min(earliest, *(place[id(tensor)] for tensor in tree.flatten(layer.input)))
    return found[::-1]


def _cells(layer: "keras.Layer") -> int:
    return min(layer.output.shape[1:3])


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
