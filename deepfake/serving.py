"""A detector as an MLflow model: `mlflow models serve` and `mlflow.pyfunc.load_model` take its folder as it is.

The folder also holds the part of this package that a detector needs, so that it is served where this package is not.
From any working directory, with the absolute path of `mlruns/`, which itself begins with a slash:

    export MLFLOW_TRACKING_URI=sqlite:////home/me/deepfake/mlruns/mlflow.db
    mlflow models serve -m models:/deepfake-detector@champion --env-manager local --port 5001
    printf '{"dataframe_records": [{"image": "%s"}]}' "$(base64 -w0 face.jpg)" |
        curl http://127.0.0.1:5001/invocations -H 'Content-Type: application/json' -d @-
"""

import base64
import binascii
import json
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake.detector import Detector, Prediction
from deepfake.errors import ImageError

if TYPE_CHECKING:
    import pandas as pd

PACKAGES = ("mlflow", "tensorflow", "keras", "numpy", "pillow", "pydantic", "h5py")
CODE, SHIPPED, LOADER = "code", "shipped", "load_detector"  # a folder, one in it, and the module beside that
_LOADER = f'''\
"""Loads the detector, by the package that is installed, or, where there is none, by what is shipped of it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).with_name("{SHIPPED}")))  # last, for it would hide the rest of an installed one
from deepfake.serving import _load_pyfunc  # noqa
'''


class Served:
    """A detector as MLflow calls it."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def predict(self, model_input: "pd.DataFrame", params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Judge images.

        Args:
            model_input: Column `image`: of each image the bytes of its file, as base64 text, also as a `data:` URI, or
                as they are. A path is no image.
            params: What else MLflow hands over; there is nothing to be set.

        Returns:
            For each image `verdict`, `p_fake` (calibrated, 0 to 1), `threshold`, and `error`: what is wrong with it.
            Either the error is None or the others are.
        """
        images = [_decoded(value) for value in model_input["image"]]
        outcomes = self._detector.predict_each(image for image in images if isinstance(image, bytes))
        return [_row(next(outcomes) if isinstance(image, bytes) else image) for image in images]


def make_servable(folder: Path, run_id: str) -> None:
    """Make a detector's folder an MLflow model: add `MLmodel`, the packages to install, and the code.

    Args:
        folder: The folder.
        run_id: The run that made the detector.
    """
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema

    from deepfake.closure import files
    from deepfake.config import PROJECT

    for path in files(__name__):
        target = folder / CODE / SHIPPED / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / path, target)
    (folder / CODE / f"{LOADER}.py").write_text(_LOADER)
    _write_requirements(folder)

    given = {"verdict": "string", "p_fake": "double", "threshold": "double", "error": "string"}
    outputs = Schema([ColSpec(kind, name, required=False) for name, kind in given.items()])
    model = Model(run_id=run_id, signature=ModelSignature(Schema([ColSpec("string", "image")]), outputs))
    pyfunc.add_to_model(model, loader_module=LOADER, code=CODE, conda_env="conda.yaml", python_env="python_env.yaml")
    model.save(folder / "MLmodel")


def _load_pyfunc(path: str) -> Served:
    """Load the detector of a folder; MLflow finds this by its name."""
    return Served(Detector.load(path))


def _write_requirements(folder: Path) -> None:
    """Write what MLflow installs where it is not told to use what is there; it wants it for every tool."""
    needed, python = [_pinned(name) for name in PACKAGES], platform.python_version()
    conda = {"channels": ["conda-forge"], "dependencies": [f"python={python}", "pip", {"pip": needed}]}
    other = {"python": python, "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]}
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in needed))
    (folder / "conda.yaml").write_text(json.dumps(conda, indent=2))  # JSON is YAML
    (folder / "python_env.yaml").write_text(json.dumps(other, indent=2))


def _decoded(value: Any) -> bytes | ImageError:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        return ImageError("neither base64 text nor bytes")
    try:
        return base64.b64decode("".join(value.rpartition(",")[2].split()), validate=True)
    except (binascii.Error, ValueError):  # ValueError: letters beyond ASCII
        return ImageError("not base64")


def _row(outcome: Prediction | ImageError) -> dict[str, Any]:
    if isinstance(outcome, ImageError):
        return {"verdict": None, "p_fake": None, "threshold": None, "error": str(outcome)}
    told = {"verdict": outcome.verdict, "p_fake": outcome.p_fake, "threshold": outcome.threshold}
    return told | {"error": None}


def _pinned(name: str) -> str:
    """Return a requirement of exactly what is installed here; TensorFlow may be so under another name."""
    try:
        return f"{name}=={version(name)}"
    except PackageNotFoundError:
        return _pinned(f"{name}-cpu")
