"""The tracking store: look at it, complete what it missed, mend it after it was moved."""

import os
import sys
from typing import Annotated

import typer

from deepfake.console import out


def ui(port: Annotated[int, typer.Option(help="Port of the page.")] = 5000) -> None:
    """Open MLflow's page on every run and model."""
    from deepfake import tracking

    if not tracking.uri().startswith("sqlite:"):
        out.print(f"The tracking server has its own page: {tracking.uri()}")
        return
    tracking.client()  # makes the database if this is the first command ever
    out.print(f"MLflow on http://127.0.0.1:{port}  (Ctrl-C ends it)")
    command = ["mlflow", "ui", "--backend-store-uri", tracking.uri(), "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, [sys.executable, "-m", *command])


def sync() -> None:
    """Send what runs recorded while their tracking server did not answer."""
    from deepfake import outbox

    if not outbox.waiting():
        out.print("Nothing waits to be sent.")
        return
    from deepfake import experiment

    if experiment.sync():
        sys.exit(1)


def relocate() -> None:
    """Tell the database where mlruns/ lies now, after it was moved or copied: MLflow stores absolute paths."""
    from deepfake import relocation

    moved = relocation.relocate()
    for before in moved.before:
        out.print(f"{before} -> {moved.now}", markup=False)
    if moved.before:
        out.print(f"{moved.runs} runs, and the versions they made, are found here now.")
    else:
        out.print("Nothing was moved.")
