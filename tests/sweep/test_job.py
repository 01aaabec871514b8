"""A job of a sweep is a process of its own, and its end is told in one line. Whole sweeps: test_whole_sweeps.py."""

import platform
import sys
from pathlib import Path

import pytest

from deepfake.errors import JobError
from deepfake.sweep.job import run_process


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
        ("echo ready; echo error: no such data; exit 1", "^no such data; its log on "),
        ("exit 7", "ended with exit code 7"),
    ],
)
def test_why_a_job_failed(job: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str) -> None:
    that_does(script, job, monkeypatch)
    with pytest.raises(JobError, match=reason) as failed:
        run_process(["seed=1"], 3, job)
    assert f"{platform.node()}: {job / 'job.log'}" in str(failed.value)


def test_what_a_job_prints_is_shown_and_kept(
    job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    that_does(
        'echo "job $DEEPFAKE_JOB" "$@"; echo \'{"validation_auc": 0.75}\' > "' + str(job) + '/result.json"',
        job,
        monkeypatch,
    )
    assert run_process(["augmentation=heavy", "seed=1"], 3, job, prefix="  3 | ") == 0.75
    shown = capsys.readouterr().out
    assert shown.startswith("  3 | job 3 ")
    assert "augmentation=heavy seed=1" in shown
    assert "  3 | " + (job / "job.log").read_text() == shown
