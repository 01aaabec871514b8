"""`python -m deepfake ensemble RUN RUN`: the average of the models of runs, treated like a trained model."""

import csv
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
from pydantic import TypeAdapter
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from deepfake import experiment, leaderboard, members, registry, tracking
from deepfake.cli import app
from deepfake.config import compose
from deepfake.console import out
from deepfake.data.dataset import load
from deepfake.detector import CARD_FILE, Card, Detector
from deepfake.errors import ConfigError, DataError, DeepfakeError, ModelError, TrackingError
from deepfake.models.scoring import scorer
from deepfake.sweep import plan

ENSEMBLE = "3"  # its version; its members are 1 and 2


@pytest.fixture(scope="module")
def settings(small: list[str]) -> list[list[str]]:
    """Of two runs that differ in seed, size and augmentation."""
    asked = ["evaluation.robustness=true", "evaluation.robustness_images=8"]
    return [
        [*small, "trainer.epochs=1", "dataset.audit=off", *asked],
        [*small, "trainer.epochs=1", "dataset.audit=off", "seed=5", "dataset.image_size=40", "augmentation=none"],
    ]


@pytest.fixture(scope="module")
def shown(settings: list[list[str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What the command prints that averages the two runs, in a store of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPFAKE_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setattr(out, "width", 10_000)
        for overrides in settings:
            experiment.run(compose(overrides))
        yield deepfake("ensemble", "1", "2")


@pytest.fixture
def row(shown: str) -> dict:
    return leaderboard.pick(leaderboard.rows(), ENSEMBLE)


@pytest.fixture
def artifacts(row: dict) -> Path:
    return Path(mlflow.artifacts.download_artifacts(f"runs:/{row['run_id']}/", tracking_uri=tracking.uri()))


def deepfake(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def ids() -> list[str]:
    """The ids of the members."""
    return [registry.run_of(version) for version in ("1", "2")]


def logits(version: str, split: str) -> np.ndarray:
    """The calibrated logits of a version on a split, prepared as it wants it."""
    detector, config = Detector.load(registry.fetch(version)), tracking.config_of(registry.run_of(version))
    p_fake = scorer(detector.model)(load(config.dataset).splits[split].images)
    return (np.log(p_fake) - np.log1p(-p_fake)) / detector.card.temperature


def test_it_is_a_run_and_a_version_like_any_other(shown: str, row: dict) -> None:
    assert (row["status"], row["version"]) == ("FINISHED", ENSEMBLE)
    assert f"version {ENSEMBLE}, {row['alias'] or 'challenger'}" in shown
    assert set(row["metrics"]) >= {"validation/auc", "test/auc_low", "validation/ece", "explanation/share"}
    assert not any(name.startswith("epoch/") for name in row["metrics"])
    for member in (*ids(), row["run_id"]):
        assert re.search(rf"{member[:8]} +(cnn|ensemble) +(32|40) +\d\.\d\d +0\.\d{{4}} +0\.\d{{4}}", shown)


def test_who_looks_at_the_runs_sees_what_it_is_made_of(row: dict) -> None:
    short = [member[:8] for member in ids()]
    assert f"ensemble of {' '.join(short)} faces" in deepfake("runs")
    assert row["params"]["model.members"] == str(short)
    assert tracking.client().get_run(row["run_id"]).data.tags["members"].split() == ids()


def test_its_settings_are_those_that_are_true_of_all_its_members(row: dict) -> None:
    params = row["params"]
    assert (params["model.name"], params["dataset.image_size"], params["trainer.epochs"]) == ("ensemble", "40", "1")
    assert not {"seed", "augmentation.name", "augmentation.rotation.range", "model.filters"} & set(params)
    assert "'augmentation.name'" in params["model.mixed"]
    assert "'seed'" in params["model.mixed"]
    assert "mixed" not in {line.strip() for line in deepfake("runs", "--by", "augmentation").split()}
    assert "'seed'" in str(Detector.load(registry.fetch(ENSEMBLE)).card.settings["model.mixed"])


def test_its_numbers_are_those_of_the_mean_of_the_logits(artifacts: Path, row: dict) -> None:
    with (artifacts / "predictions.csv").open() as file:
        said = [line for line in csv.DictReader(file) if line["split"] == "Test"]
    mean = np.mean([logits(version, "Test") for version in ("1", "2")], axis=0)
    labels = [line["label"] == "Fake" for line in said]
    assert row["metrics"]["test/auc"] == pytest.approx(roc_auc_score(labels, mean), abs=0.01)
    p_fake = 1 / (1 + np.exp(-mean / Detector.load(registry.fetch(ENSEMBLE)).card.temperature))
    np.testing.assert_allclose([float(line["p_fake"]) for line in said], p_fake, atol=0.01)  # 40 px shrunk to 32 twice


def test_it_leaves_all_that_a_run_leaves_but_of_a_training(artifacts: Path) -> None:
    assert {path.stem for path in (artifacts / "plots").glob("*.png")} == {
        "roc", "precision_recall", "confusion", "histogram", "most_wrong", "reliability", "evaluation", "explained",
        "robustness Test",
    }  # fmt: skip
    card = (artifacts / "model" / "model_card.md").read_text()
    assert "the average of 2 networks (2 `cnn`), trained on faces" in card
    assert "## Robustness" in card


def test_a_sweep_takes_it_for_no_run_of_its_members(shown: str, settings: list[list[str]]) -> None:
    for overrides, run_id in zip(settings, ids(), strict=True):
        found = plan.done(compose(overrides))
        assert found is not None
        assert found.info.run_id == run_id
        assert [run.info.run_id for run in tracking.runs_like(compose(overrides))] == [run_id]


def test_it_is_evaluated_explained_exported_and_deployed_like_any_other(row: dict, faces: Path, tmp_path: Path) -> None:
    typed = ["dataset=folder", f"dataset.root={faces}", "--json", "--out", str(tmp_path / "measured")]
    (found,) = json.loads(deepfake("evaluate", ENSEMBLE, *typed))["sets"]
    assert found["metrics"]["auc"] == pytest.approx(row["metrics"]["test/auc"])
    assert "P(fake)" in deepfake("predict", str(faces / "Test" / "Fake"), "--model", ENSEMBLE)
    detector = Detector.load(registry.fetch(ENSEMBLE))
    predictions, maps = detector.explain(np.stack([detector.prepare(faces / "Test" / "Fake" / "0000.png")]))
    assert (len(predictions), maps.shape, maps.max()) == (1, (1, 40, 40), 1)
    deepfake("export", ENSEMBLE, "--format", "savedmodel", "--out", str(tmp_path / "exported"))
    assert (tmp_path / "exported" / "deepfake_model" / "saved_model.pb").is_file()
    with pytest.raises(DeepfakeError, match="export it as savedmodel"):
        deepfake("export", ENSEMBLE, "--format", "tflite", "--out", str(tmp_path / "phone"))
    assert "Nothing was sent" in deepfake("deploy", "me/faces", "--model", ENSEMBLE, "--dry-run")
    served = mlflow.pyfunc.load_model(str(registry.fetch(ENSEMBLE)))
    (answer,) = served.predict({"image": [(faces / "Test" / "Fake" / "0000.png").read_bytes()]})
    assert answer["p_fake"] == pytest.approx(predictions[0].p_fake, abs=1e-6)


def copied(version: str, status: str = "FINISHED", **changed: object) -> str:
    """A run with the files of another, whose card says something else; it is named as a run without a version is."""
    client, before = tracking.client(), tracking.find(tracking.client(), registry.run_of(version))
    run_id = client.create_run(before.info.experiment_id).info.run_id
    client.log_artifact(run_id, mlflow.artifacts.download_artifacts(
        f"runs:/{before.info.run_id}/config.yaml", tracking_uri=tracking.uri()
    ))  # fmt: skip
    client.log_artifacts(run_id, str(registry.fetch(version)), registry.ARTIFACT)
    path = registry.fetch(f"runs:/{run_id}/model") / CARD_FILE
    card = replace(TypeAdapter(Card).validate_json(path.read_bytes()), **changed)
    path.write_bytes(TypeAdapter(Card).dump_json(card))
    client.set_terminated(run_id, status)
    return f"runs:/{run_id}/model"


def test_what_cannot_be_averaged_is_told_in_a_line(shown: str) -> None:
    first, second = ids()
    lost = copied("2")
    shutil.rmtree(registry.fetch(lost))
    data = {"name": "other", "fingerprint": "f00d", "counts": {}}
    refusals: list[tuple[list[str], type[DeepfakeError], str]] = [
        (["1"], TrackingError, "two runs or more"),
        (["1", first[:8]], TrackingError, f"1 and {first[:8]} are the same run, {first[:8]}: name it once"),
        (["1", ENSEMBLE], TrackingError, f"is an ensemble itself: name its members, {first[:8]} {second[:8]}"),
        (["1", "nobody"], TrackingError, "no version, alias or run nobody"),
        (["1", copied("2", status="FAILED")], TrackingError, "is failed: an ensemble is made of finished runs"),
        (["1", lost], ModelError, "was mlruns/ cleaned"),
        (["1", copied("2", data=data)], TrackingError, r"their images \(data.fingerprint\) differ, \w{8} and f00d"),
        (["1", copied("2", resize="crop")], TrackingError, "their dataset.resize differ, squash and crop"),
        (["1", copied("2", class_names=["A", "B"])], TrackingError, r"class_names differ, \['Real', 'Fake'\] and"),
    ]
    before = len(leaderboard.rows())
    for which, kind, line in refusals:
        with pytest.raises(kind, match=line) as refused:
            experiment.ensemble(which)
        assert "\n" not in str(refused.value)
    assert len(leaderboard.rows()) == before


def test_images_that_are_no_longer_what_they_were(shown: str, settings: list[list[str]]) -> None:
    data = load(compose(settings[0]).dataset)
    found = members.find(["1", "2"])
    members.check_data(found, data)
    with pytest.raises(DataError, match="not those that run .* was made from"):
        members.check_data(found, replace(data, fingerprint="f00d"))


def test_an_ensemble_is_not_trained(row: dict) -> None:
    tracking.client().set_terminated(row["run_id"], "KILLED")
    with pytest.raises(ConfigError, match="`python -m deepfake ensemble RUN RUN` makes one"):
        experiment.run(compose([f"resume={row['run_id']}"]))
    tracking.client().set_terminated(row["run_id"], "FINISHED")
