"""A job of a sweep is a process of its own, and its end is told in one line. Whole sweeps: test_experiment.py."""

import pickle
import sys
from pathlib import Path

import pytest

from deepfake.errors import DeepfakeError
from deepfake.sweep import JobError, name_failures, run_job


@pytest.fixture
def job(tmp_path: Path) -> Path:
    folder = tmp_path / "it's a sweep" / "3"
    folder.mkdir(parents=True)
    return folder


def that_does(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a shell script stand where Python would run the job."""
    program = folder / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("kill -9 $$", r"ended by SIGKILL \(for want of memory\?\)"),
        ("echo ready; echo error: no such data; exit 1", "^no such data; its log: "),
        ("exit 7", "ended with exit code 7"),
    ],
)
def test_why_a_job_failed(job: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str) -> None:
    that_does(script, job, monkeypatch)
    with pytest.raises(JobError, match=reason) as failed:
        run_job(["seed=1"], job)
    assert str(job / "job.log") in str(failed.value)


def test_what_a_job_prints_is_shown_and_kept(
    job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    that_does(
        'echo "epoch 1" "$@"; echo \'{"validation_auc": 0.75}\' > "' + str(job) + '/result.json"', job, monkeypatch
    )
    assert run_job(["augmentation=heavy", "seed=1"], job) == 0.75
    shown = capsys.readouterr().out
    assert "augmentation=heavy seed=1" in shown
    assert (job / "job.log").read_text() == shown


def test_the_failed_jobs_are_named_at_the_end(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (3, 10, 2):
        folder = job.with_name(str(number))
        folder.mkdir(exist_ok=True)
        (folder / "job.log").touch()
    (job / "result.json").touch()
    name_failures(pickle.loads(pickle.dumps(JobError("killed", job))))
    said = capsys.readouterr().err
    assert "2 of 3 jobs failed" in said
    assert said.index(str(job.with_name("2"))) < said.index(str(job.with_name("10")))
    name_failures(DeepfakeError("of something else"))
    assert capsys.readouterr().err == ""
