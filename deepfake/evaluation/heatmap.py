"""Heat maps: which parts of a picture a verdict rests on.

A map is that of HiResCAM (Draelos & Carin 2020, arXiv:2011.08891): at one layer, each feature times the gradient of the
logit there, summed over the features of a cell. Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) first averages that
gradient over the picture. At a last layer that is averaged over the picture the two are the same; where a Flatten
follows, a feature that speaks for Fake here and for Real there is averaged away. It is the logit that is explained, as
the gradient of P(fake) vanishes where a model is sure. The logit of an ensemble is the mean of its members', so its map
is the sum of what each of them adds to it, found at a layer of each.

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

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from deepfake.data.mapped import read_rows
from deepfake.errors import ModelError
from deepfake.models.scoring import BATCH

if TYPE_CHECKING:
    import keras

Examine = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
Explain = Callable[[np.ndarray, np.ndarray], np.ndarray]

# Cells along a side: of the layer that is explained, at least, and of the map, at most. Deep layers see the whole
# picture in every cell and say little of where; early ones say it of single pixels, which are summed to be seen.
CELLS, GRID = 24, 16
_STEEP = 1000  # a rescaling by more leaves no gradient to speak of at nearly all places
COLOURS, OPACITY = "inferno", 0.75


def examiner(model: "keras.Model") -> Examine:
    """Compile a model's score and its evidence, both found in one pass.

    Args:
        model: A functional model of stock layers, one of which, `logit`, gives the logit of P(fake), (N, 1), and the
            last of which gives P(fake), (N, 1). If `logit` takes several networks' outputs, as of `models.ensemble`,
            each of them is explained.

    Returns:
        A function from images (N, size, size, 3), uint8, N of 1 or more, which may be mapped from the disk, to P(fake),
        (N,), float64, and its evidence, (N, rows, columns), float32, coarse: above 0 what speaks for Fake, below 0 what
        speaks for Real.

    Raises:
        ModelError: If the model has no such layer.
    """
    import keras
    import tensorflow as tf

    explained = [feature_layer(network).output for network in _networks(model)]
    inner = keras.Model(model.input, [model.output, logit(model), *explained])
    grid = np.minimum(GRID, np.min([features.shape[1:3] for features in explained], axis=0))

    @tf.function(input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)])
    def forward(batch: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        p_fake, score, *features = inner(tf.cast(batch, model.inputs[0].dtype), training=False)
        found = zip(features, tf.gradients(score, features), strict=True)
        return p_fake[:, 0], tf.add_n([evidence(*one) for one in found])

    def evidence(features: "tf.Tensor", gradient: "tf.Tensor") -> "tf.Tensor":
        cells = tf.reduce_sum(features * gradient, axis=-1, keepdims=True)
        finer = np.prod(cells.shape[1:3]) / np.prod(grid)  # a mean over cells, for and against, times their number
        return finer * tf.image.resize(cells, grid, "area")[..., 0]

    def examine(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        starts = range(0, len(images), BATCH)
        parts = [forward(read_rows(images, slice(start, start + BATCH))) for start in starts]
        scores, evidence = (np.concatenate(part) for part in zip(*parts, strict=True))
        return scores.astype(np.float64), evidence

    return examine


def heat(evidence: np.ndarray, fake: np.ndarray, size: int) -> np.ndarray:
    """Make heat maps of evidence.

    Args:
        evidence: (N, rows, columns), as `examiner` finds it.
        fake: The verdicts that are explained, (N,) bools, True for Fake.
        size: Side of the maps in pixels.

    Returns:
        (N, size, size), float32, 0 to 1. High is what speaks for the verdict: what raises the logit of a Fake, what
        lowers that of a Real. A picture's strongest spot is 1, however little it says; where nothing speaks for the
        verdict, the map is 0 everywhere.
    """
    import tensorflow as tf

    speaks = np.maximum(np.where(np.asarray(fake, bool)[:, None, None], evidence, -evidence), 0)
    maps = tf.image.resize(speaks[..., None], (size, size)).numpy()[..., 0]
    strongest = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, strongest, out=np.zeros_like(maps), where=strongest > 0)


def explainer(model: "keras.Model") -> Explain:
    """Compile the heat maps of a model.

    Args:
        model: As `examiner` takes it.

    Returns:
        A function from images (N, size, size, 3), uint8, and their verdicts, (N,) bools, to what `heat` gives.
    """
    examine, size = examiner(model), model.input_shape[1]

    def explain(images: np.ndarray, fake: np.ndarray) -> np.ndarray:
        return heat(examine(images)[1], fake, size) if len(images) else np.zeros((0, size, size), np.float32)

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
    maps = maps or model.layers[:1]  # the picture itself
    least = min(CELLS, max(_cells(layer) for layer in maps))
    return next(layer for layer in reversed(maps) if _cells(layer) >= least)


def tint(maps: np.ndarray) -> np.ndarray:
    """Give heat its colours, from dark to light, which tell as much to the colour-blind.

    Args:
        maps: (N, size, size), 0 to 1.

    Returns:
        (N, size, size, 4), uint8 RGBA, the denser the hotter, to be laid over a picture.
    """
    from matplotlib import colormaps

    colours = colormaps[COLOURS](maps)
    colours[..., 3] = OPACITY * maps
    return (255 * colours).round().astype(np.uint8)


def overlay(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Lay heat over pictures.

    Args:
        images: (N, size, size, 3), uint8 RGB.
        maps: (N, size, size), 0 to 1.

    Returns:
        (N, size, size, 3), uint8 RGB: the picture in grey, and over it what `tint` gives.
    """
    grey = images @ np.array([0.299, 0.587, 0.114])  # luma of ITU-R BT.601
    heat = tint(maps)
    density = heat[..., 3:] / 255
    return (grey[..., None] * (1 - density) + heat[..., :3] * density).round().astype(np.uint8)


def logit(model: "keras.Model") -> "keras.KerasTensor":
    """Return the logit of a model's P(fake), (N, 1); raise `ModelError` if it has no layer of that name."""
    layer = next((layer for layer in model.layers if layer.name == "logit"), None)
    if layer is None:
        raise ModelError("the model has no layer `logit`, so its verdicts cannot be explained")
    return layer.output


def _networks(model: "keras.Model") -> list["keras.Model"]:
    """Return the networks whose outputs the layer `logit` takes: of an ensemble several, of any other model one."""
    import keras
    from keras import tree

    logit(model)
    return [keras.Model(model.input, tensor) for tensor in tree.flatten(model.get_layer("logit").input)]


def _bottlenecks(model: "keras.Model") -> list["keras.Layer"]:
    """Return the layers, in their order, whose output is all that later layers get from them and those before.

    Layers whose output the logit has no gradient at are left out.
    """
    from keras import tree
    from keras.layers import InputLayer

    place = {id(layer.output): number for number, layer in enumerate(model.layers)}
    found, earliest = [], len(model.layers)  # the earliest layer whose output those after `number` take
    for number, layer in reversed(list(enumerate(model.layers))):
        if earliest >= number:
            found.append(layer)
        if _ends_gradient(layer):
            break
        if not isinstance(layer, InputLayer):
            earliest = min(earliest, *(place[id(tensor)] for tensor in tree.flatten(layer.input)))
    return found[::-1]


def _ends_gradient(layer: "keras.Layer") -> bool:
    """Say whether a layer looks numbers up, or makes a step of what follows it."""
    from keras import layers

    return isinstance(layer, layers.Embedding) or (isinstance(layer, layers.Rescaling) and np.max(layer.scale) > _STEEP)


def _cells(layer: "keras.Layer") -> int:
    return min(layer.output.shape[1:3])
