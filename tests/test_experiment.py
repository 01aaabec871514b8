"""One run: what it records, what it registers, and how it ends."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest
from PIL import Image

from deepfake import experiment, leaderboard, registry, tracking
from deepfake.config import CONF, compose
from deepfake.detector import Detector
from deepfake.errors import DataError, TrackingError

ROOT = CONF.parent
EPOCH = {"loss", "accuracy", "val_loss", "val_accuracy", "val_auc", "learning_rate", "images_per_second"}
FINAL = {
    "loss", "accuracy", "balanced_accuracy", "auc", "average_precision", "eer", "precision", "recall", "f1",
    "accuracy_real", "accuracy_fake",
}  # fmt: skip


@pytest.fixture(scope="module")
def artifacts(finished_run: dict) -> Path:
    return Path(mlflow.artifacts.download_artifacts(f"runs:/{finished_run['run_id']}/", tracking_uri=tracking.uri()))


def run_py(*arguments: str, **options: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "run.py", *arguments], cwd=ROOT, capture_output=True, text=True, **options)


def test_it_returns_the_validation_auc(finished_run: dict) -> None:
    assert finished_run["auc"] == pytest.approx(finished_run["metrics"]["validation/auc"])


def test_every_epochs_metrics_are_recorded_once(finished_run: dict) -> None:
    client = tracking.client()
    for name in EPOCH:
        history = client.get_metric_history(finished_run["run_id"], f"epoch/{name}")
        assert [metric.step for metric in history] == [0, 1], name


def test_the_final_metrics_of_validation_and_test(finished_run: dict) -> None:
    for split in ("validation", "test"):
        names = {name.partition("/")[2] for name in finished_run["metrics"] if name.startswith(split)}
        assert names == FINAL | {"auc_low", "auc_high", "ece", "ece_before"}


def test_every_setting_is_a_param(finished_run: dict, artifacts: Path) -> None:
    assert finished_run["params"]["trainer.epochs"] == "2"
    assert finished_run["params"]["augmentation.rotation.range"] == "[-20.0, 20.0]"
    assert "learning_rate: 0.001" in (artifacts / "config.yaml").read_text()


def test_the_artifacts(artifacts: Path) -> None:
    assert {path.stem for path in (artifacts / "plots").glob("*.png")} == {
        "curves", "roc", "precision_recall", "confusion", "histogram", "augmented", "most_wrong",
        "reliability", "evaluation", "explained",
    }  # fmt: skip
    assert all(path.stat().st_size > 5000 for path in (artifacts / "plots").glob("*.png"))
    assert {path.name for path in (artifacts / "model").iterdir()} == {
        "deepfake_model.h5", "detector.json", "model_card.md", "MLmodel", "code",
        "requirements.txt", "python_env.yaml", "conda.yaml",
    }  # fmt: skip
    assert {"findings.csv", "pairs.csv", "traits.csv", "examples.png"} <= {
        path.name for path in (artifacts / "audit").iterdir()
    }


def test_the_predictions_of_every_image(artifacts: Path, finished_run: dict) -> None:
    with (artifacts / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert Counter((row["split"], row["label"]) for row in rows) == {
        (split, label): 24 for split in ("Validation", "Test") for label in ("Real", "Fake")
    }
    right = [row["verdict"] == row["label"] for row in rows if row["split"] == "Test"]
    assert sum(right) / len(right) == pytest.approx(finished_run["metrics"]["test/accuracy"])


def test_the_data_and_the_circumstances(finished_run: dict) -> None:
    run = tracking.client().get_run(finished_run["run_id"])
    assert run.info.status == "FINISHED"
    assert {i.tags[0].value: i.dataset.profile for i in run.inputs.dataset_inputs} == {
        "Train": '{"Real": 48, "Fake": 48}',
        "Validation": '{"Real": 24, "Fake": 24}',
        "Test": '{"Real": 24, "Fake": 24}',
    }  # fmt: skip
    for tag in (
        "config.hash",
        "command",
        "host",
        "data.fingerprint",
        "version.tensorflow",
        "version.keras",
        "threshold",
    ):
        assert run.data.tags[tag], tag


def test_the_store_is_in_its_home_whatever_the_working_directory(
    new_home: Path, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    experiment.run(compose([*small, "trainer.epochs=1", "tracking.register=false"]))
    assert (new_home / "mlruns" / "mlflow.db").is_file()
    assert list((new_home / "mlruns" / "artifacts").iterdir())
    assert not list((tmp_path / "elsewhere").iterdir())
    assert not list((new_home / "mlruns" / "checkpoints").iterdir())
    assert leaderboard.rows()[0]["version"] is None


def test_evaluate_gives_the_runs_own_numbers(finished_run: dict, small: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deepfake", "evaluate", finished_run["run_id"], "--json", *small[:2]],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    metrics = json.loads(done.stdout)["sets"][0]["metrics"]
    for name in FINAL:
        assert metrics[name] == pytest.approx(finished_run["metrics"][f"test/{name}"], abs=1e-3), name


def test_a_run_measures_other_sets_and_degraded_images(
    home: Path, small: list[str], make_faces: Callable[..., Path], tmp_path: Path
) -> None:
    """What is asked for is in the metrics, the artifacts and the model's own card."""
    other, same = (make_faces(tmp_path / name, {".": 12}) for name in ("elsewhere", "a b!/Test"))
    asked = [f"evaluation.also=[{other},'{same}']", "evaluation.robustness=true", "evaluation.robustness_images=8"]
    experiment.run(compose([*small, "trainer.epochs=1", *asked]))
    (row,) = leaderboard.rows()
    card = Detector.load(registry.fetch("champion")).card
    assert row["metrics"]["also/elsewhere/auc"] == pytest.approx(card.sets[0]["auc"])
    assert card.metrics["test"]["auc"] == pytest.approx(row["metrics"]["test/auc"])
    assert card.sets[1]["name"] == str(same)  # not Test, which is the run's own
    assert sum(name.endswith("a_b_test/auc") for name in row["metrics"]) == 1
    assert row["metrics"]["robustness/auc_ratio"] == pytest.approx(card.robustness["scalar"])
    assert [len(pairs) for pairs in card.robustness["auc"].values()] == [5] * 6
    plots = tracking.client().list_artifacts(row["run_id"], "plots")
    assert {"evaluation.csv", "robustness Test.csv"} <= {Path(file.path).name for file in plots}


def test_other_sets_are_looked_for_before_anything_is_trained(home: Path, small: list[str]) -> None:
    with pytest.raises(DataError, match="there is no such folder"):
        experiment.run(compose([*small, "evaluation.also=[/nowhere]"]))
    assert leaderboard.rows() == []


def test_a_run_on_data_that_give_the_label_away_warns_or_refuses(
    home: Path, small: list[str], make_faces: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt = make_faces(tmp_path / "spoilt", {"Train": 48, "Validation": 24, "Test": 24})
    for path in spoilt.glob("*/Fake/*.png"):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    typed = [*small, f"dataset.root={spoilt}", "trainer.epochs=1"]
    experiment.run(compose(typed))
    assert "format" in capsys.readouterr().out
    assert any("format" in text for text in Detector.load(registry.fetch("champion")).card.data["findings"])
    with pytest.raises(DataError, match="not fit to train on.*format"):
        experiment.run(compose([*typed, "dataset.audit=refuse"]))
    capsys.readouterr()
    experiment.run(compose([*typed, "dataset.audit=off"]))
    assert "format" not in capsys.readouterr().out


def test_shuffled_labels_are_told_apart_by_chance_alone(
    home: Path, small: list[str], make_faces: Callable[..., Path], tmp_path: Path
) -> None:
    """An AUC of 0.5 lies within the interval that is told."""
    shuffled = make_faces(tmp_path / "shuffled", {"Train": 48, "Validation": 40, "Test": 60})
    for split in sorted(shuffled.iterdir()):
        pictures = [path.read_bytes() for path in sorted(split.rglob("*.png"))]
        order = np.random.default_rng(0).permutation(len(pictures))
        for path, number in zip(sorted(split.rglob("*.png")), order, strict=True):
            path.write_bytes(pictures[number])
    experiment.run(compose([*small, f"dataset.root={shuffled}"]))
    (row,) = leaderboard.rows()
    assert row["metrics"]["test/auc_low"] < 0.5 < row["metrics"]["test/auc_high"]


def test_a_failed_run_is_failed(home: Path, small: list[str]) -> None:
    with pytest.raises(DataError, match="fewer than trainer.batch_size"):
        experiment.run(compose([*small, "trainer.batch_size=500"]))
    assert [row["status"] for row in leaderboard.rows()] == ["FAILED"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_killed_and_can_be_resumed(home: Path, small: list[str], how: signal.Signals) -> None:
    settings = [*small, "trainer.epochs=300", "trainer.early_stopping=null", "tracking.register=false"]
    command = [sys.executable, "run.py", *settings]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "epoch   3/" in line:
                process.send_signal(how)
                break
        process.communicate()
    assert process.returncode == 130
    (row,) = leaderboard.rows()
    assert row["status"] == "KILLED"
    assert (home / "mlruns" / "checkpoints" / f"{row['run_id']}.npz").is_file()
    assert tracking.resumed_config(row["run_id"]).trainer.epochs == 300
    refused = run_py(f"resume={row['run_id']}", "trainer.epochs=4")
    assert refused.returncode == 1
    assert "remove trainer.epochs=4" in refused.stderr


def test_a_resumed_run_goes_on_under_its_own_id(home: Path, small: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    log_epoch = tracking.Run.log_epoch

    def interrupt(self: tracking.Run, epoch: int, metrics: dict[str, float]) -> None:
        log_epoch(self, epoch, metrics)
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tracking.Run, "log_epoch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            experiment.run(compose([*small, "trainer.epochs=3"]))
    (row,) = leaderboard.rows()
    auc = experiment.run(compose([f"resume={row['run_id'][:8]}"]))
    (row,) = leaderboard.rows()
    assert (row["status"], row["version"], row["alias"]) == ("FINISHED", "1", "champion")
    steps = [metric.step for metric in tracking.client().get_metric_history(row["run_id"], "epoch/loss")]
    assert steps == [0, 1, 2]
    assert auc == pytest.approx(experiment.run(compose([*small, "trainer.epochs=3"])), abs=1e-6)
    with pytest.raises(TrackingError, match="finished"):
        experiment.run(compose([f"resume={row['run_id']}"]))


def test_resuming_what_is_not_there(home: Path) -> None:
    with pytest.raises(TrackingError, match="no run abcdef"):
        experiment.run(compose(["resume=abcdef123456"]))


@pytest.mark.slow
def test_several_first_runs_at_once_share_a_new_store(new_home: Path, small: list[str]) -> None:
    settings = [*small, "trainer.epochs=1"]
    processes = [
        subprocess.Popen([sys.executable, "run.py", *settings, f"seed={seed}"], cwd=ROOT, stdout=subprocess.DEVNULL)
        for seed in range(3)
    ]
    assert [process.wait(240) for process in processes] == [0, 0, 0]
    rows = leaderboard.rows()
    assert {row["status"] for row in rows} == {"FINISHED"}
    assert sorted(row["version"] for row in rows) == ["1", "2", "3"]
    assert len(list((new_home / "data" / "cache").glob("*/pixels.u8"))) == 1


def test_the_first_example_of_the_readme_prints_the_next_steps(new_home: Path) -> None:
    done = run_py("experiment=smoke", env={**os.environ, "DEEPFAKE_HOME": str(new_home)})
    assert done.returncode == 0, done.stderr
    for text in ("balanced accuracy", "python -m deepfake ui", "python app.py", "say nothing about real deepfakes"):
        assert text in done.stdout


BACKBONES = [pytest.param(name, marks=pytest.mark.slow) for name in ("mobilenet_v3", "efficientnet_b0", "xception")]


@pytest.mark.parametrize("model", ["cnn_bn", "meso4", *BACKBONES])
def test_every_model_trains_and_is_exported(home: Path, small: list[str], model: str) -> None:
    size = 71 if model == "xception" else 32
    seed_only = ("model.", "dataset.image_size")
    overrides = [override for override in small if not override.startswith(seed_only)]
    quick = ["trainer.epochs=1", "trainer.limit_batches=1", "trainer.batch_size=4", f"dataset.image_size={size}"]
    auc = experiment.run(compose([*overrides, f"model={model}", *quick]))
    detector = Detector.load(registry.fetch("champion"))
    assert detector.card.model == model
    assert detector.card.metrics["validation"]["auc"] == pytest.approx(auc)
    assert detector.model.input_shape == (None, size, size, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "experiment").glob("*.yaml")))
def test_every_experiment_runs(home: Path, name: str) -> None:
    tiny = [
        "dataset=synthetic",
        "dataset.images=60",
        "dataset.image_size=32",
        "trainer.epochs=1",
        "trainer.batch_size=8",
        "trainer.deterministic=false",  # which would hold for all of this process, and has tests of its own
    ]
    auc = experiment.run(compose([f"experiment={name}", *tiny]))
    (row,) = leaderboard.rows()
    assert row["status"] == "FINISHED"
    assert row["metrics"]["validation/auc"] == pytest.approx(auc)
