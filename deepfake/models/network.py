"""Build any of the networks, and what all of them have in common: raw RGB pixels in, P(fake) out."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from deepfake import config
from deepfake.errors import ModelError
from deepfake.models import backbone, cnn, dct, front_end, meso, residual, rich
from deepfake.models.backbone import freeze, unfreeze, unloaded

if TYPE_CHECKING:
    import keras

__all__ = ["build", "freeze", "unfreeze", "unloaded"]

# For each family: the layers between the image and the head, and the least side in pixels that they work on.
_FAMILIES: dict[type, tuple[Callable[..., Any], Callable[..., int]]] = {
    config.Cnn: (cnn.cnn, cnn.cnn_least_size),
    config.CnnBn: (cnn.cnn_bn, cnn.cnn_bn_least_size),
    config.Meso4: (meso.meso4, meso.meso4_least_size),
    config.Residual: (residual.residual, residual.residual_least_size),
    config.Rich: (rich.rich, rich.rich_least_size),
    config.Dct: (dct.dct, dct.dct_least_size),
    config.Backbone: (backbone.backbone, backbone.backbone_least_size),
}

# After an epoch of 75 steps, Keras's 0.99 (MobileNetV3's 0.999) still leaves 47% (93%) of the initial moving mean and
# variance in place, so a fresh network is evaluated with statistics that are not its own: one that is right on 98% of
# its Train images is then at chance on Validation. 0.9 leaves none.
_BATCH_NORM_MOMENTUM = 0.9


def build(settings: config.Model, image_size: int) -> "keras.Model":
    """Build a network, under Keras's current dtype policy.

    Two builds of the same settings have the same layers, of the same names, and weights in the same order, whatever the
    policy and whether or not weights were loaded.

    Args:
        settings: Which network, and its options.
        image_size: Side of the square image in pixels.

    Returns:
        A model that is not compiled. Its input `image` is RGB of 0 to 255, (N, image_size, image_size, 3), uint8 or
        float32. Its last layers are `logit` and `p_fake`, whose output is P(fake), 0 to 1, (N, 1), float32.

    Raises:
        ModelError: If the image is too small for the network, or the weights are missing or do not fit.
    """
    assert not isinstance(settings, config.Ensemble)  # which is made of its members, see `models.ensemble`
    features, least_size = _FAMILIES[type(settings)]
    if image_size < least_size(settings):
        raise ModelError(
            f"model={settings.name} needs images of at least {least_size(settings)} px and dataset.image_size is "
            f"{image_size}: raise it, or choose another model"
        )
    import keras
    from keras import layers

    image = keras.Input((image_size, image_size, 3), dtype="float32", name="image")
    x = features(front_end.front_end(image, settings), settings)
    x = layers.Dropout(settings.dropout, name="dropout")(x)
    logit = layers.Dense(1, dtype="float32", name="logit")(x)
    p_fake = layers.Activation("sigmoid", dtype="float32", name="p_fake")(logit)
    model = keras.Model(image, p_fake, name=settings.name)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = _BATCH_NORM_MOMENTUM
    return model
