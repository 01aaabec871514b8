"""The bundle holds what a Space needs, and nothing that is nobody's business."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import SpaceCard

from deepfake.detector import CARD_FILE, MODEL_FILE, Detector, write
from deepfake.errors import DeepfakeError, ModelError
from deepfake.space import bundle

FILES = """\
.gitattributes README.md app.py deepfake_model.h5 detector.json requirements.txt
deepfake/__init__.py deepfake/detector.py deepfake/errors.py deepfake/quiet.py deepfake/threads.py
deepfake/data/__init__.py deepfake/data/faces.py deepfake/data/images.py deepfake/data/mapped.py
deepfake/evaluation/__init__.py deepfake/evaluation/heatmap.py
deepfake/models/__init__.py deepfake/models/h5.py deepfake/models/scoring.py
deepfake/page/__init__.py deepfake/page/answer.py deepfake/page/engine.py deepfake/page/gate.py deepfake/page/layout.py
deepfake/page/models.py deepfake/page/pictures.py deepfake/page/style.css deepfake/page/uploads.py
deepfake/page/examples/1-real.jpg deepfake/page/examples/2-fake.jpg deepfake/page/examples/3-real.jpg
deepfake/page/examples/4-fake.jpg deepfake/page/examples/5-real.jpg deepfake/page/examples/6-fake.jpg
"""


def test_it_holds_these_files_and_no_others(bundle_folder: Path) -> None:
    assert sorted(bundle.files(bundle_folder)) == sorted(FILES.split())


def test_the_model_and_the_code_are_the_same_as_here(bundle_folder: Path, detector_folder: Path) -> None:
    assert (bundle_folder / MODEL_FILE).read_bytes() == (detector_folder / MODEL_FILE).read_bytes()
    for path in bundle.sources():
        assert (bundle_folder / path).read_bytes() == (bundle.PROJECT / path).read_bytes()


def test_requirements_name_what_is_imported_as_it_is_installed(bundle_folder: Path) -> None:
    lines = (bundle_folder / "requirements.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines)
    assert {"tensorflow", "keras", "numpy", "matplotlib", "gradio", "opencv-python-headless"} <= pinned.keys()
    assert not {"hydra-core", "omegaconf", "mlflow", "scikit-learn", "scipy", "pandas", "optuna"} & pinned.keys()
    assert pinned == {name: version(name) for name in pinned}


def test_the_readme_is_the_spaces_settings_and_the_model_card(bundle_folder: Path, finished_run: dict) -> None:
    card = SpaceCard((bundle_folder / "README.md").read_text(encoding="utf-8"))
    told = card.data.to_dict()
    assert (told["sdk"], told["sdk_version"], told["app_file"]) == ("gradio", version("gradio"), "app.py")
    assert told["python_version"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert (told["title"], told["license"], told["emoji"]) == ("faces", "other", "🔎")
    assert "deepfake-detection" in told["tags"]
    assert len(told["short_description"]) <= 60
    assert f"run `{finished_run['run_id']}`" in card.text
    assert f"| AUC | {finished_run['metrics']['validation/auc']:.3f} (" in card.text
    assert "pipeline_tag" not in (bundle_folder / "README.md").read_text(encoding="utf-8")  # a Space is no model


def test_large_files_are_for_git_lfs(bundle_folder: Path) -> None:
    assert "*.h5 filter=lfs diff=lfs merge=lfs -text\n" in (bundle_folder / ".gitattributes").read_text()


def test_it_tells_of_no_place_on_this_machine(detector_folder: Path, faces: Path, tmp_path: Path) -> None:
    found = Detector.load(detector_folder)
    settings = {"evaluation.also": [str(faces), "/home/jane/My Faces", r"C:\Users\jane\faces"], "a": "~/x", "b": "1/2"}
    findings = ["3 of 9 cannot be read, like /home/jane/My/Train/a.png: empty", "like Train/Real/a.png and b.png"]
    card = replace(found.card, settings=settings, data=found.card.data | {"findings": findings})
    write(tmp_path / "detector", found.model, card)
    published = bundle.build(tmp_path / "bundle", tmp_path / "detector", "faces")
    assert published.settings == {"evaluation.also": [faces.name, "My Faces", "faces"], "a": "x", "b": "1/2"}
    assert published.data["findings"] == ["3 of 9 cannot be read, like a.png: empty", findings[1]]
    assert Detector.load(tmp_path / "bundle").card == published
    secret = [str(Path.home()), str(faces.parent), str(tmp_path), str(bundle.PROJECT), os.environ["DEEPFAKE_HOME"]]
    secret += ["jane", "My/Train", str(Path(sys.prefix))]
    for path in bundle.files(tmp_path / "bundle"):
        content = (tmp_path / "bundle" / path).read_bytes()
        assert not [word for word in secret if re.search(rb"\b" + re.escape(word.encode()) + rb"\b", content)], path


ALONE = """
import importlib, sys
from pathlib import Path
blocked = {"hydra", "omegaconf", "mlflow", "sklearn", "scipy", "optuna"}  # pandas and typer are Gradio's own
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
sys.path.insert(0, ".")
paths = [path for path in Path().rglob("*.py")]
for path in paths:
    importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
import deepfake
assert Path(deepfake.__file__).resolve().parent.parent == Path().resolve()
models = importlib.import_module("deepfake.page.models").find(None, Path())
print(len(paths), models.get(None).judge([__import__("numpy").zeros((32, 32, 3), "uint8")])[0][0].p_fake)
"""


def test_its_code_runs_with_nothing_else_of_this_project(
    bundle_folder: Path, detector_folder: Path, tmp_path: Path
) -> None:
    alone = shutil.copytree(bundle_folder, tmp_path / "alone")  # Python and Gradio write files beside what they import
    done = subprocess.run([sys.executable, "-I", "-c", ALONE], cwd=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    count, p_fake = done.stdout.split()
    assert int(count) == len(list(bundle_folder.rglob("*.py")))
    expected = Detector.load(detector_folder).predict(np.zeros((32, 32, 3), np.uint8))
    assert float(p_fake) == pytest.approx(expected.p_fake, abs=1e-6)


def test_a_damaged_detector_becomes_no_bundle(detector_folder: Path, tmp_path: Path) -> None:
    (tmp_path / CARD_FILE).write_bytes((detector_folder / CARD_FILE).read_bytes())
    (tmp_path / MODEL_FILE).write_bytes((detector_folder / MODEL_FILE).read_bytes()[:-1])
    with pytest.raises(ModelError, match="SHA-256"):
        bundle.build(tmp_path / "bundle", tmp_path, "faces")
    assert not (tmp_path / "bundle").exists()


def test_a_folder_that_holds_something_is_left_alone(detector_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(DeepfakeError, match="not an empty folder"):
        bundle.build(tmp_path, detector_folder, "faces")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
