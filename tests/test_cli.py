"""The commands, as they are typed."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from mlflow.entities import Metric, Param
from PIL import Image
from typer.testing import CliRunner, Result

from deepfake import tracking
from deepfake.cli import app, main
from deepfake.config import CONF, compose
from deepfake.console import out
from deepfake.data import synthetic
from deepfake.data.cache import entries
from deepfake.data.dataset import load

ROOT = CONF.parent


def deepfake(*arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "deepfake", *arguments]
    environment = dict(os.environ)  # without the COLUMNS that pytest's readline sets behind Python's back
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=check)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("broken") / "broken.jpg"
    path.write_bytes(b"text")
    return path


def test_help_lists_the_commands() -> None:
    shown = deepfake("--help").stdout
    for command in "ui runs promote ensemble predict evaluate export deploy audit cache".split():
        assert command in shown


def test_runs(finished_run: dict) -> None:
    shown = deepfake("runs").stdout
    assert finished_run["run_id"][:8] in shown
    assert "1 champion" in shown
    assert json.loads(here("runs", "--json").stdout)[0]["metrics"] == finished_run["metrics"]


def test_runs_when_there_are_none(home: Path) -> None:
    assert "`python run.py` makes one" in deepfake("runs").stdout
    assert "No runs are like that" in here("runs", "--where", "seed=1").stdout


@pytest.fixture
def sweep(home: Path) -> list[str]:
    """Of a sweep over augmentation and seed in a store of its own: its id, and those of the four jobs, best first."""
    client = tracking.client()
    experiment = tracking.experiment_id(client, "faces")
    parent = client.create_run(experiment, tags={"sweep.varied": '["augmentation", "seed"]'}).info.run_id
    ids = [parent]
    for job, (augmentation, seed, auc) in enumerate(
        [("heavy", "2", 0.9), ("heavy", "1", 0.88), ("none", "1", 0.7), ("none", "2", 0.6)]
    ):
        chosen = {"override.augmentation": augmentation, "override.seed": seed}
        tags = {"mlflow.parentRunId": parent, "sweep.job": str(job), "data.fingerprint": "f1"}
        run_id = client.create_run(experiment, start_time=1_000, tags=tags | chosen).info.run_id
        settings = {"augmentation.name": augmentation, "seed": seed, "dataset.class_names": "['Real', 'Fake']"}
        client.log_batch(
            run_id,
            [Metric(f"{split}/{name}", auc, 0, 0) for split in ("validation", "test") for name in ("auc", "eer")],
            [Param(key, value) for key, value in settings.items()],
        )
        said = [f"Test,{i}.png,{i}.png,{('Real', 'Fake')[i % 2]},{auc**4 * (i % 2) + i / 40:.6f}," for i in range(40)]
        client.log_text(run_id, "\n".join(["split,path,group,label,p_fake,verdict", *said]), "predictions.csv")
        client.set_terminated(run_id, "FINISHED", 66_000)
        ids.append(run_id)
    return ids


def here(*arguments: str) -> Result:
    """`python -m deepfake ...` into a pipe; in this process, which is quicker."""
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setattr(out, "width", 10_000)
    return lambda *arguments: here("runs", *arguments)


@pytest.fixture
def lines(runs: Callable[..., Result]) -> Callable[..., list[list[str]]]:
    """The words of each line that `runs` prints, but for the rule below a table's head."""

    def words(*arguments: str) -> list[list[str]]:
        printed = [line.split() for line in runs(*arguments).stdout.splitlines() if "──" not in line]
        return [line for line in printed if line]

    return words


def test_the_runs_of_a_sweep(sweep: list[str], lines: Callable) -> None:
    header, best, *_ = found = lines("--sweep", "last")
    assert header == ["run", "settings", "val", "AUC", "test", "AUC", "time", "status", "sweep"]
    assert best == [
        sweep[1][:8], "augmentation=heavy", "seed=2", "0.9000", "0.9000", "1:05", "finished", sweep[0][:8],
    ]  # fmt: skip
    assert [words[0] for words in found[1:]] == [run_id[:8] for run_id in sweep[1:]]


def test_some_of_the_runs_in_another_order(sweep: list[str], lines: Callable) -> None:
    header, *found = lines("--where", "augmentation=none", "--where", "validation/auc<0.95", "--sort", "test/eer")
    assert header[:3] == ["run", "settings", "test/eer"]
    assert [words[0] for words in found] == [sweep[4][:8], sweep[3][:8]]
    assert [words[3] for words in found] == ["0.6000", "0.7000"]


def test_the_sort_column_is_not_shown_twice(sweep: list[str], lines: Callable) -> None:
    header, *found = lines("--sort", "seed")
    assert "seed" not in header
    assert [words[2] for words in found] == ["seed=1", "seed=1", "seed=2", "seed=2"]


def test_what_the_limit_leaves_out_is_said(sweep: list[str], lines: Callable, runs: Callable) -> None:
    assert " ".join(lines("--limit", "1")[-1]) == "1 of 4 runs; --limit 0 for all"
    assert len(lines("--limit", "0")) == 5
    done = runs("--json", "--limit", "3")
    assert [row["run_id"] for row in json.loads(done.stdout)] == sweep[1:4]
    assert "3 of 4 runs" in done.stderr
    assert " ".join(lines("--seeds", "--limit", "1")[-1]) == "1 of 2 groups; --limit 0 for all"


@pytest.mark.parametrize("how", [["--seeds"], ["--by", "augmentation"]])
def test_averages(sweep: list[str], how: list[str], lines: Callable) -> None:
    header, none, heavy = lines(*how, "--sort", "test/eer")
    assert header == ["augmentation", "runs", "val", "AUC", "test", "AUC", "test/eer"]
    assert heavy == ["heavy", "2", *["0.8900", "±", "0.0141"] * 3]
    assert none == ["none", "2", *["0.6500", "±", "0.0707"] * 3]


def test_averages_for_machines(sweep: list[str], runs: Callable) -> None:
    table = list(csv.DictReader(io.StringIO(runs("--seeds", "--csv").stdout)))
    assert list(table[0]) == [
        "augmentation.name", "runs", "validation/auc", "test/auc", "validation/auc sd", "test/auc sd",
    ]  # fmt: skip
    assert json.loads(runs("--by", "seed", "--json").stdout)[0]["runs"] == 2


def test_many_settings_share_a_column(finished_run: dict, lines: Callable) -> None:
    header, row, *_ = lines("--by", "augmentation,epochs,seed,model,early_stopping")
    assert header[0] == "settings"
    assert row[:3] == ["augmentation=standard", "trainer.epochs=2", "seed=0"]


def test_runs_as_csv(sweep: list[str], runs: Callable) -> None:
    best = next(csv.DictReader(io.StringIO(runs("--csv").stdout)))
    assert list(best) == [
        "run_id", "name", "status", "start", "seconds", "version", "alias", "sweep", "job",
        "augmentation.name", "dataset.class_names", "seed",
        "test/auc", "test/eer", "validation/auc", "validation/eer",
    ]  # fmt: skip
    assert (best["run_id"], best["sweep"], best["job"]) == (sweep[1], sweep[0], "0")
    assert (best["start"], best["seconds"], best["seed"]) == ("1970-01-01T00:00:01+00:00", "65.0", "2")


def test_compare_two_runs(sweep: list[str], runs: Callable) -> None:
    shown = runs("compare", sweep[4][:8], sweep[1][:8]).stdout
    words = [line.split() for line in shown.splitlines()]
    assert words[0] == ["A", sweep[4][:8], "augmentation=none", "seed=2", "finished"]
    assert ["augmentation", "none", "heavy"] in words
    assert ["auc", "0.6000", "0.9000", "+0.3000", "0.6000", "0.9000", "+0.3000"] in words
    assert "Test AUC: B is higher by 0." in shown
    assert "over 40 images, drawn one by one: more than chance" in shown
    told = json.loads(runs("compare", sweep[4], sweep[1], "--json").stdout)
    assert told["settings"] == {"augmentation.name": ["none", "heavy"]}
    assert told["metrics"]["test/auc"] == [0.6, 0.9]
    assert 0 < told["test_auc"]["low"] < told["test_auc"]["difference"] < told["test_auc"]["high"]
    assert told["test_auc"]["verdict"] in shown


def test_compare_without_an_interval(sweep: list[str], runs: Callable) -> None:
    tracking.client().set_tag(sweep[1], "data.fingerprint", "f2")
    done = runs("compare", sweep[1], sweep[2])
    assert "Test AUC: no interval, the runs' data differ" in done.stdout
    assert "seed" in done.stdout
    refused = json.loads(runs("compare", sweep[1], sweep[2], "--json").stdout)["test_auc"]["refused"]
    assert "cannot be paired" in refused


def test_compare_a_run_with_itself(finished_run: dict, runs: Callable) -> None:
    shown = runs("compare", "1", "champion").stdout
    assert "Their settings are the same" in shown
    assert "over 48 images, drawn one by one: it holds 0" in shown


@pytest.mark.parametrize("command", ["--help", "runs", "cache"])
def test_a_look_needs_no_tensorflow(finished_run: dict, command: str) -> None:
    program = f"""
import sys
from deepfake.cli import app
sys.argv = ["deepfake", "{command}"]
try:
    app()
finally:
    assert set(sys.modules).isdisjoint(["tensorflow", "sklearn", "matplotlib"])
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)


def test_predict_a_folder_and_a_broken_file(finished_run: dict, faces: Path, broken: Path) -> None:
    done = deepfake("predict", str(faces / "Test" / "Fake"), str(broken))
    assert done.stdout.count("0023.png") == 1
    assert "not an image" in done.stdout
    assert "A probability, not evidence" in done.stdout
    rows = list(csv.DictReader(io.StringIO(deepfake("predict", "--csv", str(faces / "Test"), str(broken)).stdout)))
    assert len(rows) == 49
    assert rows[-1]["error"].startswith("not an image")
    lines = [
        json.loads(line) for line in here("predict", "--json", str(faces / "Test"), str(broken)).stdout.splitlines()
    ]
    assert [line["path"] for line in lines] == [row["path"] for row in rows]
    assert lines[0]["verdict"] in ("Real", "Fake", "Unsure")


@pytest.fixture
def caches(new_home: Path, faces: Path) -> Path:
    """The folder of two caches, of faces of 16 px and of 32 px."""
    for size in (16, 32):
        load(compose(["dataset=folder", f"dataset.root={faces}", f"dataset.image_size={size}"]).dataset)
    return new_home / "data" / "cache"


def test_caches_are_listed(caches: Path, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    shown = deepfake("cache").stdout
    header, newest, oldest = [line.split() for line in shown.splitlines() if "px" in line or str(faces) in line]
    assert header == ["key", "data", "set", "images", "px", "resize", "MB", "last", "used"]
    assert newest[1:6] == [str(faces), "192", "32", "squash", "1.4"]
    assert oldest[1:6] == [str(faces), "192", "16", "squash", "1.0"]
    assert f"2.4 MB in {caches}" in shown


def test_caches_are_cleared_but_for_one_that_is_being_built(caches: Path) -> None:
    oldest, newest = [entry.key for entry in entries(caches)]
    assert "1.0 MB freed" in deepfake("cache", "clear", oldest[:8]).stdout
    with FileLock(caches / f"{newest}.lock"):
        assert f"{newest[:8]} stays" in deepfake("cache", "clear").stdout
    assert "1.4 MB freed" in deepfake("cache", "clear").stdout
    assert f"No caches in {caches}" in deepfake("cache", "show").stdout


def test_mistakes_are_one_line(
    finished_run: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for arguments, line in [
        (["predict", str(tmp_path / "nothing.jpg")], "nothing.jpg is not there"),
        (["predict", str(tmp_path)], "no images or videos in"),
        (["cache", "clear", "nothing"], "nothing names 0 caches in"),
        (["promote", "99"], "has no version, alias or run 99"),
        (["runs", "--by", "seed", "--seeds"], "choose one"),
        (["runs", "compare", "1", "99"], "no run is 99"),
        (["evaluate", "champion", "dataset=folder"], "dataset.root is missing"),
        (["evaluate", "champion", "dataset=folder", f"dataset.root={tmp_path}", "--split", "Tset"], "should be one of"),
        (["evaluate", "champion", "--on", str(tmp_path / "no")], "there is no such folder"),
        (["audit", "--fix"], "are for a folder of images"),
        (["evaluate", "nobody", "dataset=folder", f"dataset.root={tmp_path}"], "no version, alias or run nobody"),
    ]:
        monkeypatch.setattr("sys.argv", ["deepfake", *arguments])
        with pytest.raises(SystemExit, match="1"):
            main()
        told = capsys.readouterr().err
        assert told.startswith("error: ")
        assert line in told
        assert len(told.strip().splitlines()) == 1


def test_evaluate_on_several_sets(finished_run: dict, faces: Path, make_faces: Callable, tmp_path: Path) -> None:
    """A folder without splits is used whole. Every set is a row of one table, which is kept with the run."""
    other = make_faces(tmp_path / "other", {"Test": 12})
    whole = make_faces(tmp_path / "whole", {".": 15})
    out = tmp_path / "out"
    on = ["--on", str(faces), "--on", str(other), "--on", str(whole)]
    shown = here("evaluate", "champion", *on, "--out", str(out)).stdout
    for name, images in {"faces": 48, "other": 24, "whole": 30}.items():
        assert re.search(rf"{name}\S* +{images} +\d\.\d\d\d +\d\.\d\d\d-\d\.\d\d\d", shown)
    with (out / "evaluation.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [row["images"] for row in rows] == ["48", "24", "30"]
    auc = finished_run["metrics"]["test/auc"]
    assert float(rows[0]["auc"]) == pytest.approx(auc, abs=1e-3)
    assert float(rows[0]["auc_low"]) <= auc <= float(rows[0]["auc_high"])
    assert (out / "evaluation.png").is_file()
    kept = tracking.client().list_artifacts(finished_run["run_id"], "evaluations/out")
    assert {Path(file.path).name for file in kept} == {"evaluation.csv", "evaluation.png"}


def test_evaluate_all_images_of_the_runs_own_set(finished_run: dict, faces: Path) -> None:
    typed = ["dataset=folder", f"dataset.root={faces}", "--split", "all", "--json"]
    (found,) = json.loads(here("evaluate", "champion", *typed).stdout)["sets"]
    assert found["images"] == 192
    assert found["fingerprint"] == load(compose(typed[:2]).dataset).fingerprint


def test_evaluate_degraded_and_in_several_views(finished_run: dict, faces: Path, tmp_path: Path) -> None:
    typed = ["evaluate", "champion", "--on", str(faces), "--robustness", "--out", str(tmp_path / "out")]
    shown = deepfake(*typed).stdout
    assert "of the clean AUC" in shown
    for kind in ("jpeg", "blur", "downscale", "noise", "brightness", "crop"):
        assert kind in shown
    assert {path.suffix for path in (tmp_path / "out").glob("robustness*")} == {".csv", ".png"}
    once, views = (json.loads(here(*typed[:4], "--json", *more).stdout) for more in ([], ["--tta"]))
    assert once["sets"][0]["metrics"]["loss"] != views["sets"][0]["metrics"]["loss"]


def test_a_class_that_is_missing_gives_no_number(finished_run: dict, make_faces: Callable, tmp_path: Path) -> None:
    root = make_faces(tmp_path / "half", {"Test": 12})
    shutil.rmtree(root / "Test" / "Real")
    (found,) = json.loads(here("evaluate", "champion", "--on", str(root), "--json").stdout)["sets"]
    assert found["metrics"]["auc"] is None
    assert found["metrics"]["accuracy_fake"] is not None


def test_audit_of_what_is_fit(make_faces: Callable, new_home: Path) -> None:
    root = synthetic.make(new_home / "faces", 60, 0)
    done = deepfake("audit", "dataset=folder", f"dataset.root={root}", "dataset.image_size=32")
    assert "faces is fit to train on" in done.stdout
    assert "How well the label is told without looking at a face" in done.stdout
    (folder,) = (new_home / "data" / "audits").iterdir()
    assert {"findings.csv", "pairs.csv", "traits.csv", "examples.png"} <= {path.name for path in folder.iterdir()}


def test_audit_finds_and_mends(new_home: Path, tmp_path: Path) -> None:
    """With a copy across splits, and fakes as PNG: the split file mends the one, the written images the other too."""
    root = synthetic.make(new_home / "faces", 60, 0)
    shutil.copy(root / "Train" / "Real" / "00001.jpg", root / "Test" / "Real" / "x.jpg")
    for path in list(root.glob("*/Fake/*.jpg")):
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    before = {path: path.read_bytes() for path in root.rglob("*.*")}
    typed = ["dataset=folder", f"dataset.root={root}", "dataset.image_size=48"]
    done = deepfake("audit", *typed, "--fix", "--reencode", "--out", str(tmp_path / "out"), check=False)
    assert done.returncode == 1
    assert "faces is not fit to train on" in done.stdout
    assert "1 images left out, 0 moved to another split" in done.stderr
    assert {path: path.read_bytes() for path in root.rglob("*.*")} == before
    again = deepfake("audit", *typed, f"dataset.split_file={tmp_path / 'out' / 'splits.csv'}", "--json", check=False)
    told = json.loads(again.stdout)
    assert again.returncode == 1
    assert not any("in two splits" in finding["text"] for finding in told["findings"])
    assert any("format" in finding["text"] for finding in told["findings"] if finding["severity"] == "error")
    copy = ["dataset=folder", f"dataset.root={tmp_path / 'out' / 'images'}", "dataset.image_size=48"]
    assert "images is fit to train on" in here("audit", *copy).stdout


def test_promote(finished_run: dict) -> None:
    assert "version 1 is the champion" in deepfake("promote", finished_run["run_id"][:8]).stdout


def test_the_ui_shows_the_runs(finished_run: dict, serve: Callable) -> None:
    url = "http://127.0.0.1:5917"
    with serve(["deepfake", "ui", "--port", "5917"], f"{url}/health", ROOT):
        body = json.dumps({"experiment_ids": ["1"]}).encode()
        request = urllib.request.Request(
            f"{url}/api/2.0/mlflow/runs/search", body, {"Content-Type": "application/json"}
        )
        runs = json.load(urllib.request.urlopen(request, timeout=30))["runs"]
        assert finished_run["run_id"] in {run["info"]["run_id"] for run in runs}
