"""A detector of somebody else: whatever its files hold is refused in one line, and none of it runs.

The card's hash is right in every case: who hands out a bad model writes both files.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from deepfake import Detector
from deepfake.detector import CARD_FILE, MODEL_FILE
from deepfake.errors import ModelError
from deepfake.model_card import model_card
from deepfake.page.answer import about
from tests.faults.detectors import SIZE, edit, edit_config, keep, layer, make, sign

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp(name), name) for name in ("cnn", "rich")}


@pytest.fixture
def folder(made: dict[str, Path], tmp_path: Path) -> Path:
    """One that a test may damage."""
    return Path(shutil.copytree(made["cnn"], tmp_path / "detector"))


@pytest.fixture
def rich(made: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made["rich"], tmp_path / "rich"))


def refused(folder: Path, line: str) -> None:
    with pytest.raises(ModelError, match=line) as caught:
        Detector.load(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(folder)) + 250


def test_undamaged_they_load(folder: Path, rich: Path) -> None:
    for path in (folder, rich):
        assert 0 <= Detector.load(path).predict(np.zeros((9, 9, 3), np.uint8)).p_fake <= 1


# ----------------------------------------------------------------------------------------------------- foreign code


def lambda_within(wrap: Callable[[Any], Any], mark: Path) -> Any:
    """A model with a layer that would write a file whenever it is built or called."""
    import keras

    name = str(mark)
    evil = keras.layers.Lambda(lambda x: (open(name, "w").close(), x)[1], output_shape=(SIZE, SIZE, 3))
    image = keras.Input((SIZE, SIZE, 3))
    flat = keras.layers.Flatten()(wrap(evil)(image))
    return keras.Model(image, keras.layers.Dense(1, "sigmoid")(flat))


def sequential(evil: Any) -> Any:
    import keras

    return keras.Sequential([keras.Input((SIZE, SIZE, 3)), evil])


def functional(evil: Any) -> Any:
    import keras

    image = keras.Input((SIZE, SIZE, 3))
    return keras.Model(image, evil(image))


def twice(evil: Any) -> Any:
    return sequential(functional(evil))


def time_distributed(evil: Any) -> Any:
    import keras

    evil._output_shape = (SIZE, 3)
    return keras.layers.TimeDistributed(evil)


@pytest.mark.parametrize("wrap", [sequential, functional, twice, time_distributed], ids=lambda wrap: wrap.__name__)
def test_a_lambda_within_another_layer(wrap: Callable, tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    model = lambda_within(wrap, mark)
    model(np.zeros((1, SIZE, SIZE, 3), np.float32))
    mark.unlink()  # it did, for whoever trusts it
    folder = keep(tmp_path / "detector", model)
    refused(folder, "holds (Lambda|TimeDistributed) of keras.layers, which is not allowed")
    assert not mark.exists()


LAMBDA = {"class_name": "Lambda", "name": "evil", "inbound_nodes": [], "config": {"name": "evil", "function": "abs"}}
HIDDEN: dict[str, Callable[[dict], Any]] = {
    "among the layers": lambda config: config["config"]["layers"].append(LAMBDA),
    "layers that are a tuple": lambda config: config["config"].update(
        layers={"class_name": "__tuple__", "items": [*config["config"]["layers"], LAMBDA]}
    ),
    "a Sequential that is a list": lambda _: {"class_name": "Sequential", "config": [LAMBDA]},
    "the whole model": lambda _: LAMBDA,
    "an activation": lambda config: layer(config, "Dense")["config"].update(activation=LAMBDA),
    "an initializer": lambda config: layer(config, "Dense")["config"].update(kernel_initializer=LAMBDA),
    "an argument of a call": lambda config: layer(config, "Dense")["inbound_nodes"][0]["args"].append(LAMBDA),
    "a type": lambda config: layer(config, "Dense")["config"].update(
        dtype={"class_name": "TypeSpec", "type_spec": "tf.TensorSpec", "serialized": []}
    ),
    "a tensor": lambda config: layer(config, "Rescaling")["config"].update(
        scale={"class_name": "CompositeTensor", "spec": {}, "tensors": [["float32", [1]]]}
    ),
    "a lambda by its bytes": lambda config: layer(config, "Dense")["config"].update(
        activation={"class_name": "__lambda__", "config": {"value": {"code": "4wAA", "defaults": None}}}
    ),
    "a layer that reads another file": lambda config: layer(config, "Dense").update(
        class_name="TFSMLayer", config={"filepath": "/tmp/model"}
    ),
    "a name that is a list": lambda config: layer(config, "Dense").update(class_name=["Dense"]),
    "a module that is a list": lambda config: layer(config, "Dense").update(module=["keras.layers"]),
    "a layer of os": lambda config: layer(config, "Dense").update(module="os", class_name="system"),
    "a function of os": lambda config: layer(config, "Dense")["config"].update(
        activation={"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    ),
    "a function of Keras that fetches": lambda config: layer(config, "Dense")["config"].update(
        activation={"module": "keras.utils", "class_name": "function", "config": "get_file"}
    ),
    "a loader of Keras": lambda config: layer(config, "Dense").update(module="keras.models", class_name="load_model"),
    "a registered name": lambda config: layer(config, "Dense").update(
        module="keras.layers", registered_name="evil>Dense"
    ),
    "a module alone": lambda config: layer(config, "Dense")["config"].update(activation={"module": "os"}),
}


@pytest.mark.parametrize("hide", HIDDEN.values(), ids=HIDDEN.keys())
def test_an_object_that_is_not_allowed_anywhere_in_the_configuration(folder: Path, hide: Callable) -> None:
    edit_config(folder, hide)
    refused(folder, "holds .+ of .+, which is not allowed: only stock layers are")


# --------------------------------------------------------------------------------------- a configuration that is none


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", '"Functional"', "17", "{}", '{"class_name": "Functional"}', "[" * 10**5, '{"a":' * 10**5],
    ids=lambda text: text[:20],
)
def test_a_configuration_that_is_no_model(folder: Path, text: str) -> None:
    edit(folder, lambda file: file.attrs.__setitem__("model_config", text))
    refused(folder, r"not a whole Keras .h5 model|cannot be loaded")


@pytest.mark.parametrize("value", [17, [1.5, 2], h5py.Empty("f"), b"\xff\xfe"], ids=repr)
def test_a_configuration_that_is_no_text(folder: Path, value: Any) -> None:
    edit(folder, lambda file: file.attrs.__setitem__("model_config", value))
    refused(folder, "not a whole Keras .h5 model")


def test_a_configuration_that_is_longer_than_any(folder: Path) -> None:
    edit_config(folder, lambda config: config.update(more="x" * 2**24))
    refused(folder, "not a whole Keras .h5 model")


def a_heap_without_end(content: bytearray) -> None:
    heap = content.index(b"GCOL")
    place = heap + 16
    while content[place : place + 2] != b"\0\0":  # to the space that is left
        place += 16 + -(-int.from_bytes(content[place + 8 : place + 16], "little") // 8) * 8
    content[place + 8 : place + 16] = bytes(8)


def a_heap_that_leads_back(content: bytearray) -> None:
    size = content.index(b"GCOL") + 16 + 8
    content[size : size + 8] = (2**64 - 16).to_bytes(8, "little")


@pytest.mark.parametrize("damage", [a_heap_without_end, a_heap_that_leads_back])
def test_text_whose_reading_would_never_end(folder: Path, damage: Callable[[bytearray], None]) -> None:
    content = bytearray((folder / MODEL_FILE).read_bytes())
    damage(content)
    (folder / MODEL_FILE).write_bytes(content)
    sign(folder)
    refused(folder, "not a whole Keras .h5 model")


def test_a_configuration_that_is_a_list_in_another_place(folder: Path) -> None:
    """HDF5 may read past the end of one whose type is damaged."""
    listed = np.empty(1, object)
    listed[0] = np.frombuffer(b"{}", np.uint8)
    edit(folder, lambda file: file.attrs.create("model_config", listed, (1,), h5py.vlen_dtype(np.uint8)))
    refused(folder, "not a whole Keras .h5 model")


ODD: dict[str, Callable[[dict], Any]] = {
    "no layers": lambda config: config["config"].update(layers=[]),
    "layers that are text": lambda config: config["config"].update(layers="Dense"),
    "a layer that is a number": lambda config: config["config"]["layers"].append(7),
    "a layer without a name": lambda config: config["config"]["layers"][-1].__delitem__("name"),
    "a layer that takes itself": lambda config: layer(config, "Dense")["inbound_nodes"][0]["args"][0]["config"].update(
        keras_history=[layer(config, "Dense")["name"], 0, 0]
    ),
    "no units": lambda config: layer(config, "Dense")["config"].update(units=0),
    "units that are text": lambda config: layer(config, "Dense")["config"].update(units="many"),
    "units of null": lambda config: layer(config, "Dense")["config"].update(units=None),
    "an unknown activation": lambda config: layer(config, "Dense")["config"].update(activation="system"),
    "a seed that is no number": lambda config: layer(config, "Dense")["config"]["kernel_initializer"]["config"].update(
        seed=False
    ),
    "an unknown setting": lambda config: layer(config, "Dense")["config"].update(evil=1),
    "text for pixels": lambda config: layer(config, "InputLayer")["config"].update(dtype="string"),
}


@pytest.mark.parametrize("change", ODD.values(), ids=ODD.keys())
def test_a_configuration_that_keras_cannot_build(folder: Path, change: Callable) -> None:
    edit_config(folder, change)
    refused(folder, "cannot be loaded|cannot judge a picture|no probability")


# ------------------------------------------------------------------------------------------------ shapes and weights


def shaped(shape: tuple[int | None, ...], units: int) -> Any:
    import keras

    image = keras.Input(shape)
    return keras.Model(image, keras.layers.Dense(units)(keras.layers.GlobalAveragePooling2D()(image)))


@pytest.mark.parametrize(
    ("shape", "units"),
    [((SIZE, SIZE, 1), 1), ((None, None, 3), 1), ((SIZE, SIZE // 2, 3), 1), ((SIZE, SIZE, 3), 10)],
)
def test_another_shape(tmp_path: Path, shape: tuple, units: int) -> None:
    refused(
        keep(tmp_path / "detector", shaped(shape, units)), r"maps \(None, .+ to \(None, \d+\), not \(None, 32, 32, 3\)"
    )


def test_two_inputs_and_two_outputs(tmp_path: Path) -> None:
    import keras

    one, two = keras.Input((SIZE, SIZE, 3)), keras.Input((SIZE, SIZE, 3))
    both = keras.layers.Add()([one, two])
    logit = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(both))
    refused(keep(tmp_path / "inputs", keras.Model([one, two], logit)), r"maps \[.+\] to")
    logit = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(one))
    refused(keep(tmp_path / "outputs", keras.Model(one, [logit, logit])), r"maps .+ to \[.+\]")


def test_no_probability(tmp_path: Path) -> None:
    refused(keep(tmp_path / "detector", shaped((SIZE, SIZE, 3), 1)), "no probability")  # a logit


def weights(file: h5py.File) -> list[h5py.Dataset]:
    found: list[h5py.Dataset] = []
    file["model_weights"].visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    return found


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(folder: Path, value: float) -> None:
    edit(folder, lambda file: weights(file)[-1].__setitem__(0, value))
    refused(folder, "holds numbers that are not finite")


def test_finite_weights_that_make_infinities(folder: Path) -> None:
    def grow(file: h5py.File) -> None:
        for number, weight in enumerate(weights(file)):
            weight[...] = np.float32(3e38) * (-1) ** number

    edit(folder, grow)
    refused(folder, "no probability")


@pytest.mark.parametrize("factor", [-1e3, 1e3, 1e30])
def test_patterns_of_model_rich_that_are_looked_up_outside_their_table(rich: Path, factor: float) -> None:
    def multiply(file: h5py.File) -> None:
        for weight in weights(file):
            if "/number_" in weight.name:
                weight[...] = weight[...] * factor

    edit(rich, multiply)
    refused(rich, "cannot judge a picture")


def test_what_only_some_pictures_bring_out_is_one_line_as_well(tmp_path: Path) -> None:
    """A tone that black, white and noise do not have: the model loads, and fails where it is looked up."""
    import keras

    image = keras.Input((SIZE, SIZE, 3))
    tone = keras.layers.UpSampling2D(SIZE // 2)(keras.layers.AveragePooling2D(SIZE // 2)(image))
    past = [keras.layers.ReLU(threshold=border)(tone) for border in (40.0, 80.0)]
    number = keras.layers.Subtract()(past)  # 0 up to 40 and from 80 on, in between the tone
    found = keras.layers.Reshape((SIZE, SIZE, 3))(keras.layers.Embedding(1, 1)(number))
    logit = keras.layers.Dense(1, name="logit")(keras.layers.GlobalAveragePooling2D()(found))
    p_fake = keras.layers.Activation("sigmoid", name="p_fake")(logit)
    detector = Detector.load(keep(tmp_path / "detector", keras.Model(image, p_fake)))
    picture = np.full((SIZE, SIZE, 3), 60, np.uint8)
    with pytest.raises(ModelError, match="cannot judge a picture"):
        detector.predict(picture)
    with pytest.raises(ModelError, match="cannot judge a picture"):
        detector.with_views().predict(picture)
    with pytest.raises(ModelError, match="cannot judge a picture"):
        detector.explain(picture[None])


def test_a_model_whose_verdicts_cannot_be_explained(tmp_path: Path) -> None:
    import keras

    image = keras.Input((SIZE, SIZE, 3))
    numbers = keras.layers.Rescaling(0.0)(keras.layers.GlobalAveragePooling2D()(image))
    flat = keras.layers.Flatten()(keras.layers.Embedding(1, 1)(numbers))  # no part of a picture moves what it looks up
    p_fake = keras.layers.Activation("sigmoid", name="p_fake")(keras.layers.Dense(1, name="logit")(flat))
    detector = Detector.load(keep(tmp_path / "detector", keras.Model(image, p_fake)))
    with pytest.raises(ModelError, match="cannot be explained"):
        detector.explain(np.zeros((1, SIZE, SIZE, 3), np.uint8))


# ------------------------------------------------------------------------------------------------------------ memory

HUGE: dict[str, Callable[[dict], Any]] = {
    "units": lambda config: layer(config, "Dense")["config"].update(units=10**12),
    "units beyond 64 bits": lambda config: layer(config, "Dense")["config"].update(units=10**30),
    "filters": lambda config: layer(config, "Conv2D")["config"].update(filters=10**10),
    "a kernel": lambda config: layer(config, "Conv2D")["config"].update(kernel_size=[10**6, 10**6], padding="same"),
    "a picture": lambda config: layer(config, "MaxPooling2D").update(
        class_name="UpSampling2D", config={"size": [10**5, 10**5], "name": layer(config, "MaxPooling2D")["name"]}
    ),
    "a border": lambda config: layer(config, "MaxPooling2D").update(
        class_name="ZeroPadding2D", config={"padding": 10**6, "name": layer(config, "MaxPooling2D")["name"]}
    ),
    "a table": lambda config: layer(config, "MaxPooling2D").update(
        class_name="Embedding",
        config={"input_dim": 10**9, "output_dim": 10**3, "name": layer(config, "MaxPooling2D")["name"]},
    ),
}
LIMITED = """
import resource, sys
import tensorflow, keras, h5py
from deepfake import Detector
from deepfake.errors import ModelError
from deepfake.model_card import model_card
from deepfake.page.answer import about
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    Detector.load(sys.argv[1])
except ModelError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def refused_without_memory(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED, str(folder)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    line, megabytes = done.stdout.splitlines()
    assert str(folder) in line
    assert int(megabytes) < 200


@pytest.mark.parametrize("change", HUGE.values(), ids=HUGE.keys())
def test_a_layer_that_would_take_all_memory(folder: Path, change: Callable) -> None:
    edit_config(folder, change)
    refused_without_memory(folder)


def redeclare(**options: Any) -> Callable[[h5py.File], None]:
    """Put an array that lies in the file in another way in the place of a weight."""

    def change(file: h5py.File) -> None:
        weight = weights(file)[0]
        name = weight.name
        shape = options.get("shape", weight.shape)
        del file[name]
        file.create_dataset(name, **({"dtype": "f4"} | options | {"shape": shape}))

    return change


BOMBS = {
    "terabytes": {"shape": (2**20, 2**20)},
    "terabytes in chunks": {"shape": (2**20, 2**20), "chunks": (2**10, 2**10)},
    "compressed": {"shape": (2**15, 2**15), "chunks": (2**10, 2**10), "compression": "gzip"},
    "another file": {"shape": (1,), "external": [("/etc/passwd", 0, 4)]},
    "text": {"shape": (1,), "dtype": h5py.string_dtype()},
    "references": {"shape": (1,), "dtype": h5py.ref_dtype},
}


@pytest.mark.parametrize("options", BOMBS.values(), ids=BOMBS.keys())
def test_an_array_that_does_not_lie_in_the_file_as_it_is(folder: Path, options: dict) -> None:
    edit(folder, redeclare(**options))
    refused(folder, "is not an array of numbers that lies in the file")


def virtual(file: h5py.File) -> None:
    name, shape = weights(file)[0].name, weights(file)[0].shape
    layout = h5py.VirtualLayout(shape, "f4")
    layout[...] = h5py.VirtualSource("/etc/passwd", "x", shape)
    del file[name]
    file.create_virtual_dataset(name, layout)


def linked(link: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        name = weights(file)[0].name
        del file[name]
        file[name] = link

    return change


def a_loop(file: h5py.File) -> None:
    file["model_weights/again"] = file["model_weights"]


def a_group(file: h5py.File) -> None:
    name = weights(file)[0].name
    del file[name]
    file.create_group(name)


def a_named_type(file: h5py.File) -> None:
    file["model_weights/type"] = np.dtype("f8")


ELSEWHERE = {
    "an external link": linked(h5py.ExternalLink("/etc/passwd", "/")),
    "a soft link": linked(h5py.SoftLink("/model_weights")),
    "soft links in a circle": linked(h5py.SoftLink("/model_weights/again")),
    "a virtual array": virtual,
    "a circle": a_loop,
    "a type": a_named_type,
    "a group in a weight's place": a_group,
    "no weights": lambda file: file.__delitem__("model_weights"),
}


@pytest.mark.parametrize("change", ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_what_stands_for_something_else(folder: Path, change: Callable) -> None:
    edit(folder, change)
    refused(folder, "a link to another place|another name already|not an array of numbers|cannot be loaded")


# ---------------------------------------------------------------------------------------------------------- the card


@pytest.mark.parametrize(
    "content",
    ["", "null", "[]", "17", "[" * 10**5, '{"a":' * 10**5, '{"threshold": NaN}', "\0", '"\ud83d"', "{'a': 1}"],
    ids=lambda content: repr(content[:20]),
)
def test_a_card_that_is_none(folder: Path, content: str) -> None:
    (folder / CARD_FILE).write_bytes(content.encode("utf-8", "surrogatepass"))
    refused(folder, "detector.json")


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": float("nan")},
        {"threshold": -0.1},
        {"threshold": None},
        {"temperature": -1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"unsure": [float("nan"), 1]},
        {"input_size": 0},
        {"input_size": 10**9},
        {"input_size": 31.5},
        {"class_names": ["Real", 1]},
        {"metrics": {"te\nst": {"au\nc" * 1000: "no\nnumber"}}},
        {"data": []},
        {"framing": {"size": None}},
        {"framing": {"size": 1, "evil": 1}},
        {"framing": {"size": float("inf"), "x": 0, "y": 0, "found": 1}},
    ],
    ids=str,
)
def test_a_card_with_a_value_that_cannot_be(folder: Path, change: dict) -> None:
    sign(folder, **change)
    refused(folder, f"detector.json: {next(iter(change))}")


@pytest.mark.parametrize("key", ["class_names", "input_size", "resize", "threshold", "model", "data", "metrics"])
def test_a_card_that_lacks_a_value(folder: Path, key: str) -> None:
    card = json.loads((folder / CARD_FILE).read_text())
    del card[key]
    (folder / CARD_FILE).write_text(json.dumps(card))
    refused(folder, f"detector.json: {key}: Field required")


@pytest.mark.parametrize("key", ["file", "path", "model_file", "__class__", "sha256sum"])
def test_a_card_names_no_file(folder: Path, key: str) -> None:
    """A key that is not a card's says nothing: the model is always the file beside it."""
    sign(folder, **{key: "../../other.h5"})
    assert Detector.load(folder).card == Detector.load(folder / MODEL_FILE).card


@pytest.mark.parametrize("sha256", ["", "0" * 64, "../../other.h5"])
def test_a_card_that_lies_about_the_hash(folder: Path, sha256: str) -> None:
    sign(folder, sha256=sha256)
    refused(folder, "its SHA-256 differs")


def test_a_card_of_a_gigabyte(folder: Path) -> None:
    with (folder / CARD_FILE).open("r+b") as file:
        file.truncate(2**30)
    refused_without_memory(folder)


def test_a_card_and_a_model_that_are_folders(folder: Path) -> None:
    for name, line in ((MODEL_FILE, "is not there"), (CARD_FILE, "cannot be read: Is a directory")):
        (folder / name).unlink()
        (folder / name).mkdir()
        refused(folder, line)


def test_the_least_temperature_there_is(folder: Path) -> None:
    sign(folder, temperature=5e-324)
    assert Detector.load(folder).predict(np.zeros((9, 9, 3), np.uint8)).p_fake in (0, 0.5, 1)


@pytest.mark.parametrize(
    "data", [{}, {"name": "a"}, {"name": "a", "counts": 1}, {"name": "a", "counts": {"Train": "b"}}]
)
def test_a_card_that_tells_too_little_to_be_shown(folder: Path, data: dict) -> None:
    sign(folder, data=data)
    card = Detector.load(folder).card
    for tell in (model_card, about):
        with pytest.raises(ModelError, match=r"^detector.json.+: a card as a run writes it") as caught:
            tell(card, "any")
        assert str(caught.value).isprintable()
