"""A detector loads anywhere Keras is, predicts anything that is an image, and refuses what is not its own."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from deepfake import Detector, registry
from deepfake.data.images import read
from deepfake.detector import CARD_FILE, MODEL_FILE, UNSURE, Card, Prediction, write
from deepfake.errors import ImageError, ModelError
from deepfake.evaluation.calibration import check_band, choose_band, fit_temperature
from deepfake.evaluation.views import views
from deepfake.models.scoring import scorer, temper


@pytest.fixture(scope="module")
def folder(finished_run: dict) -> Path:
    return registry.fetch(f"runs:/{finished_run['run_id']}/model")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """One that a test may damage."""
    return Path(shutil.copytree(folder, tmp_path / "detector"))


@pytest.fixture(scope="module")
def detector(folder: Path) -> Detector:
    return Detector.load(folder)


@pytest.fixture(scope="module")
def image(faces: Path) -> Path:
    return next((faces / "Test" / "Fake").iterdir())


def test_every_way_to_name_it_loads_the_same(finished_run: dict, folder: Path, image: Path) -> None:
    expected = Detector.load(folder).predict(image)
    for source in (
        folder / MODEL_FILE,
        str(folder),
        "models:/deepfake-detector@champion",
        "models:/deepfake-detector/1",
    ):
        assert Detector.load(source).predict(image) == expected


def test_every_kind_of_image_gives_the_same(detector: Detector, image: Path) -> None:
    expected = detector.predict(image)
    assert 0 <= expected.p_fake <= 1
    low, high = expected.unsure or (2, 2)
    by_threshold = "Fake" if expected.p_fake >= expected.threshold else "Real"
    assert expected.verdict == (UNSURE if low <= expected.p_fake <= high else by_threshold)
    for same in (str(image), image.read_bytes(), read(image), Image.open(image)):
        assert detector.predict(same) == expected


def test_images_that_show_the_same_are_judged_by_their_mean_log_odds(detector: Detector) -> None:
    sure = Detector(detector.model, replace(detector.card, threshold=0.6, unsure=(0.5, 0.7)))
    together = sure.judge_together([0.9, 0.9, 0.2])
    assert together == Prediction(pytest.approx(0.731593, abs=1e-6), "Fake", 0.6, pytest.approx(0.329983), (0.5, 0.7))
    assert sure.judge_together([0.55]) == Prediction(0.55, UNSURE, 0.6, 0.0, (0.5, 0.7))
    assert sure.judge_together([0.01, 0.6]).verdict == "Real"  # however far they lie apart


def test_many_are_judged_as_one_by_one(detector: Detector, faces: Path) -> None:
    paths = sorted((faces / "Test").rglob("*.png"))
    alone = [detector.predict(path).p_fake for path in paths]
    assert [p.p_fake for p in detector.predict_many(paths)] == pytest.approx(alone, abs=1e-6)
    assert detector.predict_many([]) == []


def test_an_unreadable_image_among_others(detector: Detector, image: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"text")
    first, wrong, last = detector.predict_each([image, broken, image])
    assert first == last == detector.predict(image)
    assert isinstance(wrong, ImageError)
    with pytest.raises(ImageError, match="not an image"):
        detector.predict_many([image, broken])


def test_an_array_of_floats_is_refused(detector: Detector) -> None:
    with pytest.raises(ImageError, match="uint8 RGB"):
        detector.predict(np.zeros((8, 8, 3), np.float32))


def test_the_file_loads_in_a_process_without_this_project(folder: Path, detector: Detector, image: Path) -> None:
    program = """
import json, sys, keras, numpy as np
from PIL import Image
model = keras.models.load_model(sys.argv[1], compile=False)
size = model.input_shape[1]
pixels = np.array(Image.open(sys.argv[2]).convert("RGB").resize((size, size), Image.Resampling.BICUBIC))
assert not any(name.startswith("deepfake") for name in sys.modules)
assert {weight.dtype for weight in model.weights if "seed" not in weight.path} == {"float32"}
print(float(model.predict(pixels[None], verbose=0)[0, 0]))
"""
    command = [sys.executable, "-c", program, str(folder / MODEL_FILE), str(image)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    uncalibrated = np.array(float(done.stdout.splitlines()[-1]))
    assert temper(uncalibrated, detector.card.temperature) == pytest.approx(detector.predict(image).p_fake, abs=1e-5)


def test_the_card_holds_every_number(detector: Detector, finished_run: dict) -> None:
    card = detector.card
    assert (card.class_names, card.input_size, card.resize) == (["Real", "Fake"], 32, "squash")
    assert card.run_id == finished_run["run_id"]
    assert card.metrics["test"]["auc"] == pytest.approx(finished_run["metrics"]["test/auc"])
    assert card.data["counts"]["Test"] == {"Real": 24, "Fake": 24}


def test_a_missing_folder_or_file(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(ModelError, match=r"detector.json is not there"):
        Detector.load(tmp_path)
    (copy / MODEL_FILE).unlink()
    with pytest.raises(ModelError, match=r"deepfake_model.h5 is not there"):
        Detector.load(copy)


def test_flipped_bytes(copy: Path) -> None:
    content = bytearray((copy / MODEL_FILE).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(byte ^ 255 for byte in content[middle : middle + 2000])
    (copy / MODEL_FILE).write_bytes(content)
    with pytest.raises(ModelError, match="SHA-256 differs"):
        Detector.load(copy)


def rewrite_card(folder: Path, **changes: object) -> None:
    """Change the card, and give it the right hash, as someone would who hands out a bad model."""
    import hashlib

    card = json.loads((folder / CARD_FILE).read_text())
    card |= {"sha256": hashlib.sha256((folder / MODEL_FILE).read_bytes()).hexdigest()} | changes
    (folder / CARD_FILE).write_text(json.dumps(card))


def test_a_lambda_is_refused_and_not_run(copy: Path, tmp_path: Path) -> None:
    import keras

    mark = str(tmp_path / "it ran")
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.add(keras.layers.Lambda(lambda x: (open(mark, "w").close(), x)[1]))
    Path(mark).unlink(missing_ok=True)
    model.save(copy / MODEL_FILE)
    Path(mark).unlink(missing_ok=True)
    rewrite_card(copy)
    with pytest.raises(ModelError, match="holds Lambda"):
        Detector.load(copy)
    assert not Path(mark).exists()


def edit_config(folder: Path, old: str, new: str) -> None:
    with h5py.File(folder / MODEL_FILE, "r+") as file:
        config = file.attrs["model_config"]
        assert old in config
        file.attrs["model_config"] = config.replace(old, new)
    rewrite_card(folder)


def test_an_unknown_layer_is_refused(copy: Path) -> None:
    edit_config(copy, '"class_name": "Flatten"', '"class_name": "Evil"')
    with pytest.raises(ModelError, match="holds Evil"):
        Detector.load(copy)


def test_an_object_of_another_module_is_refused(copy: Path) -> None:
    edit_config(copy, '"module": "keras.initializers"', '"module": "os"')
    with pytest.raises(ModelError, match="of os, which is not allowed"):
        Detector.load(copy)


def test_a_truncated_file_with_the_right_hash(copy: Path) -> None:
    (copy / MODEL_FILE).write_bytes((copy / MODEL_FILE).read_bytes()[:3000])
    rewrite_card(copy)
    with pytest.raises(ModelError, match=r"not a whole Keras .h5 model|cannot be loaded"):
        Detector.load(copy)


def test_another_input_size_than_the_card_says(copy: Path) -> None:
    rewrite_card(copy, input_size=48)
    with pytest.raises(ModelError, match="not \\(None, 48, 48, 3\\)"):
        Detector.load(copy)


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 7},
        {"class_names": ["Real"]},
        {"input_size": "big"},
        {"resize": "warp"},
        {"temperature": 0},
        {"unsure": [0.7, 0.3]},
        {"unsure": [-0.1, 0.5]},
        {"unsure": [0.5]},
    ],
)
def test_a_card_out_of_range(copy: Path, change: dict) -> None:
    rewrite_card(copy, **change)
    with pytest.raises(ModelError, match=next(iter(change))):
        Detector.load(copy)


def test_a_card_that_is_no_json(copy: Path) -> None:
    (copy / CARD_FILE).write_text("{")
    with pytest.raises(ModelError, match="detector.json"):
        Detector.load(copy)


def test_a_card_of_before_calibration_loads_and_says_what_it_said(folder: Path, copy: Path, image: Path) -> None:
    new = {"temperature", "unsure", "settings", "intervals", "calibration", "robustness", "sets", "explanation"}
    card = json.loads((copy / CARD_FILE).read_text())
    assert new <= set(card)
    (copy / CARD_FILE).write_text(json.dumps({key: value for key, value in card.items() if key not in new}))
    old = Detector.load(copy)
    assert (old.card.temperature, old.card.unsure, old.card.sets) == (1, None, [])
    said = old.predict(image)
    assert said.p_fake == scorer(old.model)(old.prepare(image)[None])[0]
    assert said.verdict == ("Fake" if said.p_fake >= said.threshold else "Real")
    assert (said.spread, said.unsure) == (0, None)


def test_numbers_of_any_kind_come_back_from_the_card(copy: Path) -> None:
    told = {"calibration": {"ece": [0.1, None]}, "robustness": {"jpeg": [1, 2]}, "sets": [{"name": "a"}]}
    rewrite_card(copy, **told)
    card = Detector.load(copy).card
    assert {key: getattr(card, key) for key in told} == told


def test_the_temperature_of_the_card_moves_p_fake_and_not_the_order(copy: Path, detector: Detector) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    own = scorer(detector.model)(images)
    rewrite_card(copy, temperature=4.0)
    scores = Detector.load(copy).score(images)
    assert scores == pytest.approx(temper(own, 4), abs=1e-7)
    assert np.abs(scores - 0.5).max() < np.abs(own - 0.5).max()
    assert np.array_equal(np.argsort(scores), np.argsort(own))


def test_within_the_band_the_verdict_is_unsure(copy: Path, image: Path) -> None:
    p_fake = Detector.load(copy).predict(image).p_fake

    def verdict(low: float, high: float, threshold: float) -> str:
        rewrite_card(copy, unsure=[low, high], threshold=threshold)
        said = Detector.load(copy).predict(image)
        assert (said.p_fake, said.unsure) == (p_fake, (low, high))
        return said.verdict

    assert verdict(p_fake - 1e-3, p_fake + 1e-3, p_fake) == UNSURE
    assert verdict(p_fake, p_fake + 1e-3, p_fake + 1e-3) == UNSURE  # both ends belong to it
    assert verdict(p_fake + 1e-3, p_fake + 2e-3, p_fake + 1e-3) == "Real"
    assert verdict(p_fake - 2e-3, p_fake - 1e-3, p_fake - 1e-3) == "Fake"
    assert verdict(0, 1, p_fake) == UNSURE


def test_several_views_are_averaged(detector: Detector, faces: Path) -> None:
    paths = sorted((faces / "Test").rglob("*.png"))[::6]
    pixels = np.stack([detector.prepare(path) for path in paths])
    scores = np.stack([detector.score(view) for view in views(pixels)])
    firm = detector.with_views()
    said = firm.predict_many(paths)
    assert [p.p_fake for p in said] == pytest.approx(scores.mean(axis=0), abs=1e-6)
    assert [p.spread for p in said] == pytest.approx(scores.std(axis=0), abs=1e-6)
    assert firm.score(pixels) == pytest.approx(scores.mean(axis=0), abs=1e-6)
    assert firm.predict(paths[0]).p_fake == pytest.approx(said[0].p_fake, abs=1e-6)
    assert detector.predict(paths[0]).p_fake == pytest.approx(scores[0, 0], abs=1e-6)  # which looks once, as before


def test_views_that_disagree_are_a_reason_to_be_unsure(copy: Path, image: Path) -> None:
    said = Detector.load(copy).with_views().predict(image)
    assert said.spread > 0
    for distance, verdict in ((1.5, "Fake"), (0.5, UNSURE)):
        end = said.p_fake - distance * said.spread
        rewrite_card(copy, unsure=[end, end], threshold=end)
        assert Detector.load(copy).with_views().predict(image).verdict == verdict


def test_from_validation_to_the_verdict(tmp_path: Path) -> None:
    """The brighter the likelier Fake: the band of Validation leaves the same images without a verdict later."""
    import keras

    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D()])
    model.add(
        keras.layers.Dense(1, "sigmoid", kernel_initializer=keras.initializers.Constant(0.1), bias_initializer="zeros")
    )
    model.layers[-1].set_weights([np.full((3, 1), 0.05), np.array([-0.15 * 128])])
    random = np.random.default_rng(0)
    labels = np.arange(400) % 2
    grey = np.clip(random.normal(118 + 20 * labels, 10), 0, 255).astype(np.uint8)
    images = np.broadcast_to(grey[:, None, None, None], (400, 8, 8, 3))
    validation, test = slice(0, 200), slice(200, 400)

    own = scorer(model)(images)
    temperature = fit_temperature(labels[validation], own[validation])
    scores = temper(own, temperature)
    band = choose_band(labels[validation], scores[validation], 0.5)
    names = {"class_names": ["Real", "Fake"], "resize": "squash", "model": "grey", "run_id": "", "created": ""}
    numbers = {"input_size": 8, "threshold": 0.5, "temperature": temperature, "unsure": (band.low, band.high)}
    write(tmp_path, model, Card(**names, **numbers, data={}, metrics={}, versions={}))

    verdicts = np.array([said.verdict for said in Detector.load(tmp_path).predict_many(list(images[test]))])
    given = verdicts != UNSURE
    right = verdicts == np.where(labels[test] == 1, "Fake", "Real")
    held = check_band(labels[test], scores[test], band)
    assert (np.mean(right[given]), np.mean(given)) == pytest.approx(held[:2])
    assert held.right >= 0.9
    assert 0.3 < held.coverage < 1


def test_to_load_a_detector_takes_nothing_that_only_training_and_measuring_need() -> None:
    program = "import sys, deepfake.detector; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"sklearn", "scipy", "matplotlib", "tensorflow", "mlflow"} & set(done.stdout.split())


def test_a_verdict_comes_with_its_reason() -> None:
    sure = Prediction(0.93, "Fake", 0.5, unsure=(0.2, 0.8))
    assert sure.reason("Fake").endswith("the chance that the picture is fake is 93.0%; from 50.0% on it says Fake.")
    unsure = Prediction(0.62, "Unsure", 0.5, unsure=(0.2, 0.8))
    assert "from 20.0% to 80.0% it has not been right often enough to say" in unsure.reason("Fake")
