"""What the store does not take is kept, in its order, and sent once it answers."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from deepfake import outbox, tracking
from deepfake.errors import StoreLostError
from deepfake.outbox import Outbox


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A client of a server that is not there."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return MlflowClient("http://127.0.0.1:9")


@pytest.fixture
def client(home: Path) -> MlflowClient:
    return tracking.client()


@pytest.fixture
def run_id(client: MlflowClient) -> str:
    return client.create_run(tracking.experiment_id(client, "deepfake")).info.run_id


def record(box: Outbox, folder: Path) -> None:
    """All that a run does."""
    folder.mkdir()
    for epoch in range(3):
        box.put(metrics=[["epoch/loss", 1.0 - epoch / 10, 1000 + epoch, epoch]])
    (folder / "plots").mkdir()
    (folder / "plots" / "roc.svg").write_text("a plot")
    box.put_files(folder, None)
    box.put(tags={"threshold": "0.5", "name": "Ünï\ncode"})
    box.put(status="FINISHED", ms=2000)


def recorded(client: MlflowClient, run_id: str) -> dict:
    run = client.get_run(run_id)
    losses = [(m.step, m.value, m.timestamp) for m in client.get_metric_history(run_id, "epoch/loss")]
    files = [file.path for file in client.list_artifacts(run_id, "plots")]
    tags = {name: run.data.tags.get(name) for name in ("threshold", "name")}
    return {"losses": losses, "files": files, "tags": tags, "end": (run.info.status, run.info.end_time)}


WHOLE = {
    "losses": [(0, 1.0, 1000), (1, 0.9, 1001), (2, 0.8, 1002)],
    "files": ["plots/roc.svg"],
    "tags": {"threshold": "0.5", "name": "Ünï\ncode"},
    "end": ("FINISHED", 2000),
}


def test_a_store_that_answers_has_it_at_once(client: MlflowClient, run_id: str, tmp_path: Path) -> None:
    record(Outbox(client, run_id), tmp_path / "made")
    assert recorded(client, run_id) == WHOLE
    assert outbox.waiting() == []


def test_what_is_kept_is_sent_later(
    client: MlflowClient, nobody: MlflowClient, run_id: str, tmp_path: Path, home: Path
) -> None:
    record(Outbox(nobody, run_id), tmp_path / "made")
    assert outbox.waiting() == [run_id]
    assert recorded(client, run_id)["losses"] == []
    shutil.rmtree(tmp_path / "made")  # a run's own files are gone with it
    assert Outbox(client, run_id).send()
    assert recorded(client, run_id) == WHOLE
    assert outbox.waiting() == []


def test_nothing_stands_there_twice_whoever_was_interrupted_while_sending(
    client: MlflowClient, nobody: MlflowClient, run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(Outbox(nobody, run_id), tmp_path / "made")
    with monkeypatch.context() as patch:
        patch.setattr(client, "set_terminated", nobody.set_terminated)  # the server goes again, just before the end
        assert not Outbox(client, run_id).send()
    assert recorded(client, run_id) == WHOLE | {"end": ("RUNNING", None)}
    assert Outbox(client, run_id).send()
    assert recorded(client, run_id) == WHOLE


def test_an_entry_that_was_cut_off_spoils_no_other(client: MlflowClient, nobody: MlflowClient, run_id: str) -> None:
    Outbox(nobody, run_id).put(tags={"first": "1"})
    entries = Outbox(nobody, run_id).folder / "entries.jsonl"
    with entries.open("a") as file:
        file.write('\n{"tags": {"cut": "of')
    Outbox(nobody, run_id).put(tags={"last": "2"})
    assert Outbox(client, run_id).send()
    tags = client.get_run(run_id).data.tags
    assert (tags["first"], tags.get("cut"), tags["last"]) == ("1", None, "2")


def test_a_registration_waits_until_all_else_is_sent(client: MlflowClient, nobody: MlflowClient, run_id: str) -> None:
    box = Outbox(nobody, run_id)
    box.put(tags={"first": "1"})
    box.put_registration()
    box.put(status="FINISHED", ms=2000)
    box = Outbox(client, run_id)
    assert box.send()
    assert client.get_run(run_id).info.status == "FINISHED"
    assert box.awaits_registration
    assert outbox.waiting() == [run_id]
    box.clear()
    assert outbox.waiting() == []


def test_a_mistake_is_not_kept_but_raised(client: MlflowClient, run_id: str) -> None:
    with pytest.raises(Exception, match="Invalid value"):
        Outbox(client, run_id).put(metrics=[["bad\nname?", 1.0, 0, 0]])
    assert outbox.waiting() == []


def test_where_nothing_goes_on_without_the_store_it_is_told_in_a_line(nobody: MlflowClient) -> None:
    with (
        pytest.raises(StoreLostError, match=r"^the tracking store http://there cannot be used, is its server running"),
        outbox.telling("http://there"),
    ):
        nobody.search_experiments()
