"""The average of trained networks, as one network of the same kind: raw RGB pixels in, P(fake) out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def average(members: Sequence["keras.Model"], temperatures: Sequence[float]) -> "keras.Model":
    """Build the network whose logit is the mean of its members' calibrated logits.

    Networks that were trained from other seeds, or in other ways, err on other images, so that their average errs less
    than most of them (Lakshminarayanan et al. 2017, arXiv:1612.01474).

    How large a member's logits are says as much of how long it was trained as of how much it knows. Each is divided by
    the member's own temperature, which makes it the log-odds that Validation bears out: a member that is no surer than
    it may be is heard as it is, and one that has learnt its Train images by heart does not drown the others. The mean
    of log-odds is the normalised geometric mean of the members' P(fake). It is as a rule less sure than it could be,
    even of calibrated members, and is therefore calibrated once more, as any other network is (Rahaman & Thiery 2021,
    arXiv:2007.08792).

    Args:
        members: Two or more functional models of stock layers as of `network.build`, in float32.
        temperatures: Of each, above 0.

    Returns:
        A model that is not compiled, of copies of their layers, named `member_1_...` and so on; its last layers are
        `logit`, (N, 1), the mean, and `p_fake`. Its `image` is as large as the largest of theirs. Of a smaller one it
        is shrunk in the model, as `data.images.square` does it: bicubic, without aliasing.
    """
    import keras
    from keras import layers

    size = max(member.input_shape[1] for member in members)
    image = keras.Input((size, size, 3), dtype="float32", name="image")
    logits = []
    for number, (member, temperature) in enumerate(zip(members, temperatures, strict=True), start=1):
        logit = _copy(member, _shrunk(image, member.input_shape[1], f"member_{number}_image"), f"member_{number}_")
        logits.append(layers.Rescaling(1 / temperature, dtype="float32", name=f"member_{number}_calibrated")(logit))
    logit = layers.Average(dtype="float32", name="logit")(logits)
    p_fake = layers.Activation("sigmoid", dtype="float32", name="p_fake")(logit)
    return keras.Model(image, p_fake, name="ensemble")


def _shrunk(image: "keras.KerasTensor", size: int, name: str) -> "keras.KerasTensor":
    from keras import layers

    if image.shape[1] == size:
        return image
    return layers.Resizing(size, size, "bicubic", antialias=True, dtype="float32", name=name)(image)


def _copy(member: "keras.Model", image: "keras.KerasTensor", prefix: str) -> "keras.KerasTensor":
    """Apply copies of a model's layers, with their weights, up to its logit."""
    from keras import tree

    made = {id(member.input): image}
    for layer in member.layers[1:]:
        copied = type(layer).from_config({**layer.get_config(), "name": f"{prefix}{layer.name}"})
        made[id(layer.output)] = copied(tree.map_structure(lambda tensor: made[id(tensor)], layer.input))
        copied.set_weights(layer.get_weights())
    return made[id(member.get_layer("logit").output)]
