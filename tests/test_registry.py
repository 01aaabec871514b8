"""Versions, the champion's rules, and what happens to a model whose files are gone."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deepfake import experiment, leaderboard, registry, relocation, tracking
from deepfake.config import compose
from deepfake.detector import Detector
from deepfake.errors import ModelError, TrackingError
from deepfake.evaluation.bootstrap import Difference

NAME = registry.MODEL_NAME


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, small: list[str]) -> Path:
    """A home with one finished run."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("whole")
        patch.setenv("DEEPFAKE_HOME", str(home))
        experiment.run(compose([*small, "trainer.epochs=1"]))
    return home


@pytest.fixture
def run_id(new_home: Path, whole: Path) -> str:
    """A finished run in a store of its own: version 1, champion."""
    shutil.copytree(whole / "mlruns", new_home / "mlruns")
    relocation.relocate()
    return leaderboard.rows()[0]["run_id"]


def alias(name: str) -> str | None:
    aliases = tracking.client().get_registered_model(NAME).aliases
    return str(aliases[name]) if name in aliases else None


def better(probability: float) -> Callable[[Detector], Difference]:
    return lambda champion: Difference(0.01, -0.02, 0.04, probability)


def another(run_id: str, metrics: dict[str, float] | None = None, status: str = "FINISHED") -> str:
    """A run beside the first, with the same detector and other numbers, that was not registered."""
    client = tracking.client()
    experiment_id = client.get_run(run_id).info.experiment_id
    other = client.create_run(experiment_id).info.run_id
    client.log_artifacts(other, str(registry.fetch(run_id)), registry.ARTIFACT)
    for name, value in (metrics or {}).items():
        client.log_metric(other, name, value)
    client.set_terminated(other, status)
    return other


def test_the_first_version_is_champion(run_id: str) -> None:
    assert (alias("champion"), alias("challenger")) == ("1", None)


def test_a_better_one_becomes_champion(run_id: str) -> None:
    registered = registry.register(another(run_id), NAME, 0.9, better(0.93))
    assert (registered.version, registered.alias) == ("2", "champion")
    assert "validation AUC +0.0100 against the champion, version 1" in registered.reason
    assert "better with probability 0.93, 0.9 is asked" in registered.reason
    assert alias("champion") == "2"


@pytest.mark.parametrize("probability", [0.9, 0.2])
def test_one_that_may_be_better_by_luck_alone_becomes_challenger(run_id: str, probability: float) -> None:
    assert registry.register(another(run_id), NAME, 0.9, better(probability)).alias == "challenger"
    assert (alias("champion"), alias("challenger")) == ("1", "2")


def test_the_champion_is_scored_on_the_new_runs_images(
    run_id: str, small: list[str], make_faces: Callable, tmp_path: Path
) -> None:
    other = make_faces(tmp_path / "other", {"Train": 16, "Validation": 8, "Test": 8}, suffix=".bmp")
    experiment.run(compose([*small, f"dataset.root={other}", "dataset.image_size=40", "trainer.epochs=1"]))
    assert {alias("champion"), alias("challenger")} in ({"1", "2"}, {"2", None})


def test_a_run_is_registered_once_whenever_it_was_interrupted(run_id: str) -> None:
    """Killed between its version and that version's alias, or after both, it is resumed."""
    killed, client = another(run_id), tracking.client()
    client.create_model_version(NAME, f"runs:/{killed}/model", killed)
    assert registry.register(killed, NAME, 0.9, better(0.2)).version == "2"
    assert registry.register(killed, NAME, 0.9, better(0.95)).alias == "challenger"
    assert [version.number for version in registry.versions()] == ["2", "1"]
    assert (alias("champion"), alias("challenger")) == ("1", "2")


def test_a_champion_whose_files_are_gone_is_not_replaced_in_silence(run_id: str) -> None:
    challenger = another(run_id)
    shutil.rmtree(registry.fetch("champion"))
    registered = registry.register(challenger, NAME, 0.9, better(1.0))
    assert registered.alias == "challenger"
    assert "cannot be compared" in registered.reason
    assert "promote" in registered.reason


def test_promote_by_hand(run_id: str) -> None:
    registry.register(another(run_id), NAME, 0.9, better(0.1))
    assert registry.promote("2") == "2"
    assert (alias("champion"), alias("challenger")) == ("2", "1")
    assert registry.promote("challenger") == "1"
    assert (alias("champion"), alias("challenger")) == ("1", "2")
    assert registry.promote(run_id[:8]) in ("1", "2")


def test_promoting_what_is_not_there(run_id: str) -> None:
    for which in ("9", "nobody", "abcdef0123"):
        with pytest.raises(TrackingError, match=which):
            registry.promote(which)
    assert alias("champion") == "1"


def test_every_name_finds_the_same_folder(run_id: str) -> None:
    names = [
        "champion",
        "1",
        run_id,
        run_id[:8],
        f"runs:/{run_id}/model",
        f"models:/{NAME}@champion",
        f"models:/{NAME}/1",
    ]
    assert len({registry.fetch(name) for name in names}) == 1
    folder = registry.fetch("champion")
    assert registry.fetch(str(folder)) == folder


def found(which: str) -> str:
    return registry.fetch(which).parent.parent.name


def test_the_best_run_by_a_metric(run_id: str) -> None:
    strong = another(run_id, {"validation/auc": 2.0, "validation/loss": 9.0, "validation/eer": 9.0})
    firm = another(run_id, {"validation/auc": -1.0, "validation/loss": -1.0, "also/celeb/eer": -1.0})
    honest = another(run_id, {"validation/ece": -1.0, "test/ece_before": -1.0, "validation/auc": float("nan")})
    another(run_id, {"validation/auc": 3.0, "validation/loss": -3.0}, status="FAILED")
    assert found("best:validation/auc") == strong
    assert found("best:validation/loss") == found("best:also/celeb/eer") == firm
    assert found("best:validation/ece") == found("best:test/ece_before") == honest
    assert found("best:validation/recall") == run_id  # the only one that has it

    with pytest.raises(TrackingError, match=f"run {strong} has no registered version"):
        registry.promote("best:validation/auc")
    registry.register(strong, NAME, 0.9, better(0.1))
    assert registry.promote("best:validation/auc") == alias("champion") == "2"

    shutil.rmtree(registry.fetch("best:validation/auc"))
    assert found("best:validation/auc") == run_id
    shutil.rmtree(registry.fetch(f"runs:/{firm}/model"))
    with pytest.raises(ModelError, match=r"^best:also/celeb/eer: the files of every run that has it are gone"):
        registry.fetch("best:also/celeb/eer")


@pytest.mark.parametrize("name", ["auc", "validation/acu", "seed", "seconds", "epoch/val_auc", ""])
def test_the_best_run_by_a_metric_that_is_none(finished_run: dict, name: str) -> None:
    with pytest.raises(TrackingError, match=f"^best:{name}: there is no such metric; there are .*") as error:
        registry.fetch(f"best:{name}")
    named = str(error.value).partition("there are ")[2].split(", ")
    assert {"validation/auc", "validation/ece", "test/auc"} <= set(named)
    assert not any(metric.startswith("epoch/") for metric in named)


def test_no_model_yet(home: Path) -> None:
    with pytest.raises(TrackingError, match=r"`python run.py` trains and registers one"):
        registry.fetch("champion")
    with pytest.raises(TrackingError, match=r"no run is finished yet, `python run.py` trains one"):
        registry.fetch("best:validation/auc")
    with pytest.raises(ModelError, match="is not there"):
        registry.fetch("models/mine.h5")


def test_lost_files_are_noticed(run_id: str) -> None:
    shutil.rmtree(registry.fetch("champion"))
    with pytest.raises(ModelError, match="was mlruns/ cleaned"):
        registry.fetch("champion")


def test_the_leaderboard_is_sorted_by_validation_auc(run_id: str, small: list[str]) -> None:
    experiment.run(compose([*small, "trainer.epochs=1", "seed=5"]))
    rows = leaderboard.rows()
    aucs = [row["metrics"]["validation/auc"] for row in rows]
    assert aucs == sorted(aucs, reverse=True)
    assert {row["version"] for row in rows} == {"1", "2"}
    assert len([row for row in rows if row["alias"] == "champion"]) == 1
    assert leaderboard.rows("another experiment") == []


def test_a_version_that_was_registered_by_hand_has_no_run_and_is_none_of_ours(run_id: str) -> None:
    tracking.client().create_model_version(NAME, registry.fetch("champion").as_uri())
    assert [version.number for version in registry.versions()] == ["1"]
    assert leaderboard.rows()[0]["version"] == "1"
    for use in (registry.fetch, registry.promote):
        with pytest.raises(TrackingError, match="version 2 was made by no run"):
            use("2")
