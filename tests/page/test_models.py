"""What a page offers: the model beside it, or all of the registry's, with the champion followed."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from deepfake import registry, tracking
from deepfake.errors import TrackingError
from deepfake.page.models import OneModel, RegisteredModels, find


@pytest.fixture
def registered(finished_run: dict):
    """Make the models of a page, which cease to follow the champion when the test ends."""
    made = []

    def make() -> RegisteredModels:
        made.append(RegisteredModels("champion"))
        return made[-1]

    yield make
    for models in made:
        models.close()


@pytest.fixture
def second_version(finished_run: dict) -> str:
    """The same model registered once more."""
    client = tracking.client()
    source = f"runs:/{finished_run['run_id']}/model"
    version = client.create_model_version(registry.MODEL_NAME, source, finished_run["run_id"]).version
    yield str(version)
    client.delete_model_version(registry.MODEL_NAME, version)


def test_a_model_beside_the_page_is_the_default(finished_run: dict, tmp_path: Path) -> None:
    shutil.copytree(registry.fetch("champion"), tmp_path / "space")
    models = find(None, tmp_path / "space")
    assert isinstance(models, OneModel)
    assert models.get(None).detector.card.run_id == finished_run["run_id"]
    assert models.choices() == []


def test_a_path_is_served_alone(finished_run: dict, tmp_path: Path) -> None:
    assert isinstance(find(str(registry.fetch("1")), tmp_path), OneModel)


def test_without_one_the_champion_is_and_every_version_can_be_chosen(
    finished_run: dict, second_version: str, tmp_path: Path
) -> None:
    models = find(None, tmp_path)
    models.close()
    texts, keys = zip(*models.choices(), strict=True)
    assert keys == ("champion", second_version, "1")
    assert texts[0].startswith("champion: deepfake-detector version ")
    auc, right = (finished_run["metrics"][f"test/{name}"] for name in ("auc", "balanced_accuracy"))
    assert texts[2].startswith("version 1, ")
    assert texts[2].endswith(f" · AUC {auc:.3f}, {right:.0%} right")
    assert models.get("1") is models.get(None)  # the same run is loaded once


def test_a_moved_champion_is_picked_up_and_who_asked_the_old_one_is_answered(
    finished_run: dict, small: list[str], registered
) -> None:
    from deepfake import experiment
    from deepfake.config import compose

    models = registered()
    old = models.get(None)
    experiment.run(compose([*small, "seed=5"]))
    newest = registry.versions()[0]
    registry.promote(newest.number)
    models.refresh()
    try:
        assert models.get(None).detector.card.run_id == newest.run_id
        assert old.judge([np.zeros((32, 32, 3), np.uint8)])
        assert models.get("1").detector.card.run_id == finished_run["run_id"]
    finally:
        registry.promote("1")
        tracking.client().delete_model_version(registry.MODEL_NAME, newest.number)


def test_a_registry_that_is_away_does_not_stop_the_page(
    registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = registered()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'nowhere' / 'mlflow.db'}")
    with pytest.raises(Exception):  # noqa: B017 - whatever the database says; the page's own poll only logs it
        models.refresh()
    assert models.get(None).judge([np.zeros((32, 32, 3), np.uint8)])


def test_a_version_that_is_not_there_is_an_error(registered) -> None:
    with pytest.raises(TrackingError, match="99"):
        registered().get("99")
