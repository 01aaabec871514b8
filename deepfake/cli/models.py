"""The models: choose the champion, average, evaluate, export."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deepfake.config import Dataset, compose, folder_like, home
from deepfake.console import out, robustness_table, sets_table
from deepfake.errors import DeepfakeError

if TYPE_CHECKING:
    from deepfake.data.dataset import Data

MODEL_HELP = (
    "A path, an MLflow URI, a version number, an alias, a run id, or best:METRIC, like best:validation/auc: the "
    "finished run that is best by it. Test should choose nothing: not best:test/auc."
)
MEMBER_HELP = "Two runs or more: a run's id or its first characters, its version, an alias, or best:METRIC."
OVERRIDES_HELP = "As for run.py: dataset=folder dataset.root=DIR ..."
ON_HELP = "Another folder: its Test split, or all of it where it has no splits. May be given again."
TTA_HELP = "Look at each image four times: as it is, mirrored, enlarged, compressed."
FORMAT_HELP = (
    "Each takes raw 0-255 RGB and gives P(fake) before calibration; detector.json beside it has the temperature and "
    "the threshold. onnx needs: pip install tf2onnx onnxruntime"
)
DEGRADED = 500  # images of each class that are degraded, at most


def promote(
    which: Annotated[str, typer.Argument(help="A version number, an alias, a run id, or best:METRIC.")],
) -> None:
    """Make a version the champion, which the app serves."""
    from deepfake import registry

    version = registry.promote(which)
    out.print(f"{registry.MODEL_NAME} version {version} is the champion now.")


def ensemble(
    runs: Annotated[list[str], typer.Argument(help=MEMBER_HELP, show_default=False)],
) -> None:
    """Average the models of runs, and measure and register the average like a trained model.

    The runs should have learnt from the same images. All else is as in the first of them.
    """
    from deepfake import experiment

    experiment.ensemble(runs)


def evaluate(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    overrides: Annotated[list[str] | None, typer.Argument(help=OVERRIDES_HELP)] = None,
    on: Annotated[list[Path] | None, typer.Option(help=ON_HELP)] = None,
    split: Annotated[str, typer.Option(help="Test, Validation, Train, or all images.")] = "Test",
    tta: Annotated[bool, typer.Option("--tta", help=TTA_HELP)] = False,
    robustness: Annotated[bool, typer.Option("--robustness", help="Also on images degraded in six ways.")] = False,
    to: Annotated[Path | None, typer.Option("--out", help="Folder for the tables and plots.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Measure any model on any labelled images, a row a set, at the model's own threshold."""
    from deepfake.config import SPLITS
    from deepfake.evaluation import report, sets
    from deepfake.evaluation.robustness import measure

    wanted = {name.lower(): (name,) for name in SPLITS} | {"all": SPLITS}
    if split.lower() not in wanted:
        raise DeepfakeError(f"--split {split}: should be one of {', '.join(SPLITS)}, all")
    settings = compose(overrides or []).dataset
    detector = load(model)
    detector = detector.with_views() if tta else detector
    settings = replace(settings, image_size=detector.card.input_size, resize=detector.card.resize)
    chosen = _labelled(settings, wanted[split.lower()], on or [], bool(overrides) or not on)
    cut = detector.card.threshold
    rows, worn = [], {}
    for name, data in chosen.items():
        part = data.joined()
        rows.append(sets.measure(name, part.labels, detector.score(part.images), part.groups, cut))
        if robustness:
            worn[name] = measure(detector.score, part.images, part.labels, cut, limit=DEGRADED, seed=0)
    folder = to or home() / "mlruns" / "evaluations" / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    report.write_measured(folder, rows, worn)
    _keep(model, detector.card.run_id, folder)
    if as_json:
        prints = {name: data.fingerprint for name, data in chosen.items()}
        told = [asdict(row) | {"fingerprint": prints[row.name]} for row in rows]
        print(json.dumps(_finite({"sets": told, "robustness": {k: asdict(v) for k, v in worn.items()}}), indent=2))
        return
    sets_table(f"{detector.card.model}, threshold {cut:.3f}", rows)
    for name, found in worn.items():
        robustness_table(name, found)
    out.print(f"All numbers and plots: {folder}", markup=False)


def export(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    kind: Annotated[Literal["tflite", "onnx", "savedmodel"], typer.Option("--format", help=FORMAT_HELP)],
    to: Annotated[Path | None, typer.Option("--out", help="A new folder for it.")] = None,
) -> None:
    """Write a model in another format; it is kept only if it says what the .h5 says."""
    from deepfake.export import export as write

    detector = load(model)
    name = f"{detector.card.model}-{detector.card.run_id[:8]}-{kind}"
    out.print(write(detector, kind, to or home() / "mlruns" / "exports" / name), markup=False)
    out.print(
        f"Its P(fake) is before calibration: temperature {detector.card.temperature:.4g} and threshold "
        f"{detector.card.threshold:.4g} are in detector.json beside it."
    )


def load(model: str) -> Any:
    """Load a detector, however it is named; see `MODEL_HELP`."""
    from deepfake import registry
    from deepfake.detector import Detector

    return Detector.load(registry.fetch(model))


def _labelled(settings: Dataset, splits: Sequence[str], folders: Sequence[Path], itself: bool) -> dict[str, "Data"]:
    """Load the data set itself, if it is asked for, and other folders, each by its name."""
    from deepfake.data.dataset import by_name, load_splits, load_test

    found = [load_splits(settings, splits)] if itself else []
    found += [load_test(folder_like(str(folder), settings), splits) for folder in folders]
    return by_name(found)


def _keep(model: str, run_id: str, folder: Path) -> None:
    """Keep what was measured of a registered model with its run."""
    if not Path(model).exists():
        from deepfake import tracking

        tracking.client().log_artifacts(run_id, str(folder), f"evaluations/{folder.name}")


def _finite(tree: Any) -> Any:
    """Replace nan, which JSON does not know, by null."""
    if isinstance(tree, dict):
        return {key: _finite(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
