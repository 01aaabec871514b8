"""Detectors as an attacker hands them out: whatever was done to the files, the card's hash is that of the `.h5`."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from deepfake.config import compose
from deepfake.detector import CARD_FILE, MODEL_FILE, Card, write
from deepfake.models import network

if TYPE_CHECKING:
    import keras

SIZE = 32
NETWORKS = {"cnn": ["model=cnn", "model.filters=[4]", "model.dense=4"], "rich": ["model=rich"]}


def make(folder: Path, name: str) -> Path:
    """Write the detector of a small, untrained network: the same bytes each time, so that a number names a case."""
    import keras

    keras.utils.set_random_seed(0)
    return keep(folder, network.build(compose([*NETWORKS[name], f"dataset.image_size={SIZE}"]).model, SIZE))


def keep(folder: Path, model: "keras.Model") -> Path:
    """Write a detector of any model."""
    told = {"class_names": ["Real", "Fake"], "resize": "squash", "model": "any", "run_id": "", "created": ""}
    write(folder, model, Card(**told, input_size=SIZE, threshold=0.5, data={}, metrics={}, versions={}))
    return folder


def sign(folder: Path, **changes: Any) -> None:
    """Change the card, and give it the hash of the `.h5` that lies there."""
    sha256 = hashlib.sha256((folder / MODEL_FILE).read_bytes()).hexdigest()
    card = json.loads((folder / CARD_FILE).read_text()) | {"sha256": sha256} | changes
    (folder / CARD_FILE).write_text(json.dumps(card))


def edit(folder: Path, change: Callable[[h5py.File], None]) -> None:
    """Change what is in the `.h5`."""
    with h5py.File(folder / MODEL_FILE, "r+") as file:
        change(file)
    sign(folder)


def edit_config(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the model's configuration in place, or put what `change` returns in its place."""

    def changed(file: h5py.File) -> None:
        config = json.loads(file.attrs["model_config"])
        config = change(config) or config
        file.attrs["model_config"] = config if isinstance(config, str) else json.dumps(config)

    edit(folder, changed)


def layer(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Find the first layer of a class in a configuration."""
    return next(layer for layer in config["config"]["layers"] if layer["class_name"] == name)
