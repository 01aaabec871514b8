"""Networks of `keras.applications` with a new head, from scratch or pretrained."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from deepfake import config
from deepfake.errors import ModelError
from deepfake.models import front_end

if TYPE_CHECKING:
    import keras


class _Network(NamedTuple):
    """A network of `keras.applications`: what it is called there, its least image side, and its x * scale + offset."""

    application: str
    least_size: int
    scale: float | Sequence[float]
    offset: float | Sequence[float]


# Mean and standard deviation of ImageNet's channels, of pixels of 0 to 1: what Keras's EfficientNet weights expect.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_NETWORKS = {
    "mobilenet_v3": _Network("MobileNetV3Small", 32, 1 / 127.5, -1.0),
    "efficientnet_b0": _Network(
        "EfficientNetB0", 32, [1 / (255 * s) for s in _STD], [-m / s for m, s in zip(_MEAN, _STD, strict=True)]
    ),
    "xception": _Network("Xception", 71, 1 / 127.5, -1.0),
}

# Layers that keras.applications leaves unnamed, whose automatic number counts on through the process.
_AUTOMATIC_NAME = re.compile(r"(activation|add|batch_normalization|conv2d|re_lu)(_\d+)?")


def backbone(image: "keras.KerasTensor", settings: config.Backbone) -> "keras.KerasTensor":
    """Apply a network of `keras.applications` without its top, and average over the image.

    Args:
        image: float32 (N, size, size, 3), 0 to 255, or what a front end made of it.
        settings: Which network, and its weights.

    Returns:
        Features, (N, channels).

    Raises:
        ModelError: If the weights are missing or do not fit.
    """
    from keras import layers

    network, channels = _NETWORKS[settings.name], image.shape[3]
    scale, offset = (
        value if isinstance(value, float) else [*value] * (channels // 3) for value in (network.scale, network.offset)
    )
    # In float32 under any policy: a product in bfloat16 would merge neighbouring grey levels.
    x = layers.Rescaling(scale, offset, dtype="float32", name="rescaling")(image)
    x = _copy(_application(settings, image.shape[1:]), x)
    return layers.GlobalAveragePooling2D(name="avg_pool")(x)


def backbone_least_size(settings: config.Backbone) -> int:
    """Return the least image side in pixels that Keras allows for the network."""
    return _NETWORKS[settings.name].least_size


def unloaded(settings: config.Model) -> config.Model:
    """Return the settings of the same network from scratch, to be given weights that are at hand already."""
    return replace(settings, weights=None) if isinstance(settings, config.Backbone) else settings


def freeze(model: "keras.Model", settings: config.Model) -> None:
    """Leave only the head of a pretrained model to be trained. A model that starts from scratch is left as it is.

    Compile the model afterwards: Keras reads `trainable` when it compiles.

    Args:
        model: What `build` returned.
        settings: The settings it was built from.
    """
    if isinstance(settings, config.Backbone) and settings.weights is not None:
        for layer in model.layers:
            layer.trainable = layer.name == "logit"


def unfreeze(model: "keras.Model") -> None:
    """Let all of a pretrained model but its front end be trained, and keep its batch normalisation in inference mode.

    Small batches of other images would soon undo the statistics that the pretrained weights rely on: the advice of
    https://keras.io/guides/transfer_learning. Compile the model afterwards.

    Args:
        model: A model that `freeze` froze.
    """
    from keras import layers

    for layer in model.layers:
        fixed = isinstance(layer, layers.BatchNormalization) or layer.name.startswith(front_end.PREFIX)
        layer.trainable = not fixed


def _application(settings: config.Backbone, shape: tuple[int, int, int]) -> "keras.Model":
    """Return the network as Keras builds it for images of this shape, with its weights."""
    import keras

    if settings.weights is not None and shape[2] != 3:
        raise ModelError(
            f"model.beside_rgb=true makes {shape[2]} channels and model.weights={settings.weights} were learnt from 3: "
            "set model.beside_rgb=false, or model.weights=null"
        )
    create = getattr(keras.applications, _NETWORKS[settings.name].application)
    if settings.weights == "imagenet":
        return _imagenet(create, shape, settings.name)
    with warnings.catch_warnings():  # Keras warns of any number of channels but 1 and 3
        warnings.simplefilter("ignore", UserWarning)
        network = create(include_top=False, weights=None, input_shape=shape)
    if settings.weights is not None:
        _load(network, Path(settings.weights).expanduser(), settings.name)
    return network


def _imagenet(create: Any, shape: tuple[int, int, int], name: str) -> "keras.Model":
    try:
        with warnings.catch_warnings():  # MobileNetV3 warns of any side but the 224 px that its weights were learnt at
            warnings.simplefilter("ignore", UserWarning)
            return create(include_top=False, weights="imagenet", input_shape=shape)
    except Exception as error:  # Keras raises the bare class when a download fails
        raise ModelError(
            f"model.weights=imagenet: Keras cannot get the weights of {name} ({_first_sentence(error)}); without a "
            "network, put a weights file without top on this machine and set model.weights to its path"
        ) from error


def _load(network: "keras.Model", path: Path, name: str) -> None:
    if not path.is_file():
        raise ModelError(f"model.weights={path}: no such file; give a weights file, `imagenet`, or null")
    try:
        with warnings.catch_warnings():  # a file that does not fit warns once a layer, and then raises
            warnings.simplefilter("ignore", UserWarning)
            network.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise ModelError(
            f"model.weights={path}: not a .h5 or .weights.h5 file of {name} without top ({_first_sentence(error)})"
        ) from error


def _first_sentence(error: Exception) -> str:
    return str(error).partition("\n")[0].partition(". ")[0]


def _copy(network: "keras.Model", x: "keras.KerasTensor") -> "keras.KerasTensor":
    """Apply a copy of a network: flat, with its weights, without its preprocessing, in layers that an `.h5` can hold.

    MobileNetV3 makes its hard sigmoid of sums and products with numbers, which do not come back from an `.h5`. In
    EfficientNet, `set_weights` does not reach what Normalization computes with, and the preprocessing is another if
    ImageNet weights are asked for. Automatic names differ from build to build.

    Args:
        network: A network of `keras.applications`.
        x: Images as the network's first convolution takes them.

    Returns:
        The last feature map.
    """
    import keras
    from keras import layers

    copies: list[tuple[keras.Layer, keras.Layer]] = []

    def copy(layer: Any) -> Any:
        if not isinstance(layer, keras.Layer) or isinstance(layer, layers.Rescaling | layers.Normalization):
            return None
        name = f"{automatic[1]}_{len(copies)}" if (automatic := _AUTOMATIC_NAME.fullmatch(layer.name)) else layer.name
        if isinstance(layer, layers.ReLU) and layer.max_value == 6:
            copied = layers.Activation("hard_sigmoid", name=name)
        else:
            copied = type(layer).from_config({**layer.get_config(), "name": name})
        copies.append((layer, copied))
        return copied

    features = x

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal features  # the model that clone_model makes of them is cut off from `x`
        features = args[0] if layer is None else layer(*args, **kwargs)
        return features

    keras.models.clone_model(network, input_tensors=x, clone_function=copy, call_function=call)
    for layer, copied in copies:
        copied.set_weights(layer.get_weights())
    return features
