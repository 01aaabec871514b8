"""Read a model's `.h5` that anyone may have made: what is in it is checked before anything is built, run or allocated.

A file is refused unless it is what `keras.Model.save` writes of a network of stock layers: groups and plain arrays of
numbers that lie in the file itself, and a configuration in which every object is an allowed one. So weights take no
more memory than the file is long, and nothing outside the file is read.
"""

import json
import math
import mmap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfake import quiet
from deepfake.errors import ModelError, one_line

if TYPE_CHECKING:
    import h5py
    import keras

# Stock layers that compute with their weights and nothing else: no Lambda, no wrapper of other layers.
ALLOWED_LAYERS = frozenset(
    (
        "Activation Add Average AveragePooling2D BatchNormalization Concatenate Conv2D Cropping2D Dense "
        "DepthwiseConv2D Dropout ELU Embedding Flatten Functional GlobalAveragePooling2D "
        "GlobalMaxPooling2D GroupNormalization InputLayer LayerNormalization LeakyReLU MaxPooling2D Maximum Multiply "
        "Normalization PReLU ReLU Rescaling Reshape Resizing SeparableConv2D Sequential Softmax SpatialDropout2D "
        "Subtract UpSampling2D ZeroPadding2D"
    ).split(" ")
)
# And what layers are made with, all of which are data: by their modules, the names that may stand in a configuration.
_LAYER_MODULES = ("keras", "keras.layers", "keras.models", "keras.src.models.functional", "keras.src.models.sequential")
_ALLOWED: dict[str | None, frozenset[str]] = {
    None: ALLOWED_LAYERS | {"__keras_tensor__"},
    **dict.fromkeys(_LAYER_MODULES, ALLOWED_LAYERS),
    "keras": ALLOWED_LAYERS | {"DTypePolicy"},
    "keras.initializers": frozenset(
        (
            "Constant GlorotNormal GlorotUniform HeNormal HeUniform LecunNormal LecunUniform Ones RandomNormal "
            "RandomUniform TruncatedNormal VarianceScaling Zeros"
        ).split(" ")
    ),
    "keras.regularizers": frozenset(("L1", "L2", "L1L2")),
    "keras.constraints": frozenset(("MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm")),
}
_LONGEST_CONFIG = 2**24  # characters; a large ensemble's has a tenth
_LARGEST_OUTPUT = 2**28  # numbers that a layer may make of one picture: a gigabyte


def load(path: Path, size: int) -> "keras.Model":
    """Check and load a model.

    Args:
        path: The `.h5`.
        size: Side in pixels of the square that the model should take.

    Returns:
        The model, which maps (N, size, size, 3) to (N, 1).

    Raises:
        ModelError: If the file is damaged, holds anything but finite weights and allowed layers, or maps otherwise.
    """
    check(path)
    quiet.import_tensorflow()
    with ThreadPoolExecutor(1) as own:  # what Keras notes of variables that it made in vain ends with the thread
        try:
            return own.submit(_build, path, (None, size, size, 3)).result()
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(f"{path} cannot be loaded ({type(error).__name__})") from error


def check(path: Path) -> None:
    """Look at a file without TensorFlow, and build nothing of what it holds.

    Args:
        path: The `.h5`.

    Raises:
        ModelError: If it is not whole, holds anything but groups and arrays of numbers, or names another object than
            those that are allowed.
    """
    import h5py

    try:
        with h5py.File(path) as file:
            _check_heaps(file, path)
            _check_stored(file, path)
            config = _config(file)
    except ModelError:
        raise
    except Exception as error:  # a damaged file can break the reader anywhere
        raise ModelError(f"{path} is not a whole Keras .h5 model") from error
    _check_objects(config, path)


def _check_heaps(file: "h5py.File", path: Path) -> None:
    """Refuse a heap of strings whose walk does not end: HDF5 1.14 goes by the sizes that stand in it, without a look.

    A heap is `GCOL`, 4 bytes, its size, and then objects: number, 6 bytes, size, content. Of all but number 0, which
    is the space that is left, the size leaves out these 16 bytes and what fills up to the next 8 (HDF5 File Format,
    III.E).
    """
    if file.id.get_create_plist().get_sizes() != (8, 8):  # of offsets and lengths, as Keras writes them
        raise ValueError("offsets and lengths of other sizes than Keras writes")
    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(b"GCOL")
        while start >= 0:
            if not _ends(content, start):
                raise ValueError("a heap without end")
            start = content.find(b"GCOL", start + 1)


def _ends(content: mmap.mmap, start: int) -> bool:
    """Say whether a walk along the objects of a heap comes to its end."""
    if start + 16 > len(content):
        return True  # too short to be a heap
    end, place = start + int.from_bytes(content[start + 8 : start + 16], "little"), start + 16
    if end > len(content):
        return True  # HDF5 refuses it
    while place + 16 <= end:
        number = int.from_bytes(content[place : place + 2], "little")
        size = int.from_bytes(content[place + 8 : place + 16], "little")
        step = 16 + -(-size // 8) * 8 if number else size
        if not 16 <= step <= end - place:
            return False
        place += step
    return True


def _check_stored(file: "h5py.File", path: Path) -> None:
    """Refuse a file that is anything but groups, text and arrays of numbers, each of which lies in it as it is."""
    import h5py

    size = path.stat().st_size
    waiting: list[h5py.Group] = [file]
    seen = {h5py.h5o.get_info(file.id).addr}
    while waiting:
        group = waiting.pop()
        _check_attributes(group)
        for name in group:
            if group.get(name, getclass=True, getlink=True) is not h5py.HardLink:
                raise ModelError(f"{path}: {one_line(name)} is a link to another place, which is not allowed")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise ModelError(f"{path}: {one_line(name)} is what another name already stands for")
            seen.add(address)
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif not (isinstance(item, h5py.Dataset) and _is_plain(item, size)):
                raise ModelError(f"{path}: {one_line(name)} is not an array of numbers that lies in the file")


def _check_attributes(group: "h5py.Group") -> None:
    """Refuse attributes that are neither text nor empty: HDF5 1.14 reads lists of anything past their ends."""
    import h5py

    for number in range(h5py.h5a.get_num_attrs(group.id)):
        attribute = h5py.h5a.open(group.id, index=number)
        if attribute.get_type().get_class() != h5py.h5t.STRING and math.prod(attribute.shape):
            raise ValueError("an attribute that is no text")


def _is_plain(array: "h5py.Dataset", size: int) -> bool:
    import h5py

    made = array.id.get_create_plist()
    if made.get_layout() != h5py.h5d.CONTIGUOUS or made.get_external_count() or array.dtype.kind not in "fiu":
        return False  # what is compressed, or lies elsewhere, can be larger than the file
    start, declared = array.id.get_offset(), math.prod(array.shape) * array.dtype.itemsize
    return declared == 0 or (start is not None and start + declared <= size)


def _config(file: "h5py.File") -> dict[str, Any]:
    text = file.attrs["model_config"]
    if len(text) > _LONGEST_CONFIG:
        raise ValueError("longer than any model's")
    return json.loads(text)


def _check_objects(config: Any, path: Path) -> None:
    """Refuse a configuration that holds anything but allowed objects."""
    for found in _objects(config):
        name, module = found.get("class_name"), found.get("module")
        known = isinstance(name, str) and isinstance(module, str | None) and name in _ALLOWED.get(module, ())
        if not known or found.get("registered_name") not in (None, name):
            where = one_line("keras.layers" if module is None else module)
            raise ModelError(f"{path} holds {one_line(name)} of {where}, which is not allowed: only stock layers are")
    if not (isinstance(config, dict) and config.get("class_name") in ALLOWED_LAYERS):
        raise ModelError(f"{path} is not a whole Keras .h5 model")


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Walk everything in a configuration that Keras would build, or turn into something else than it is."""
    waiting = [config]
    while waiting:
        tree = waiting.pop()
        if isinstance(tree, dict):
            if not {"class_name", "module", "registered_name"}.isdisjoint(tree):
                yield tree
            waiting += tree.values()
        elif isinstance(tree, list):
            waiting += tree


def _build(path: Path, expected: tuple[int | None, ...]) -> "keras.Model":
    import keras

    # In this scope variables have a shape and no memory. So a weight whose shape is not that of the file's is found
    # before it takes any, and what the file holds is looked at before it becomes a model's.
    with keras.StatelessScope(initialize_variables=False) as scope:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
        given, made = model.input_shape, model.output_shape
        largest = max(math.prod(side or 1 for side in tensor.shape) for tensor in _outputs(model))
        if (given, made) != (expected, (None, 1)):
            raise ModelError(f"{path} maps {one_line(given)} to {one_line(made)}, not {expected} to (None, 1)")
        if largest > _LARGEST_OUTPUT:
            raise ModelError(f"{path} makes {largest:,} numbers of one picture in a layer, more than is computed here")
        values = [(weight, scope.get_current_value(weight)) for weight in model.weights]
        for weight, value in values:
            if value is not None and not np.isfinite(value).all():
                raise ModelError(f"{path}: {one_line(weight.path)} holds numbers that are not finite")
        scope.initialize_variables = True
    for weight, value in values:
        if value is not None:
            weight.assign(value)
    return model


def _outputs(model: "keras.Model") -> "list[keras.KerasTensor]":
    import keras
    from keras import tree

    inner = [tensor for layer in model.layers if isinstance(layer, keras.Model) for tensor in _outputs(layer)]
    return inner + [tensor for layer in model.layers for tensor in tree.flatten(layer.output)]
