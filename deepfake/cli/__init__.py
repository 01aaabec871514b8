"""The commands of `python -m deepfake`, a module for each kind: runs, models, predictions, Spaces, data sets."""

import os
import sys
from typing import Annotated

import typer

from deepfake.cli import datasets, models, predict, runs, space
from deepfake.config import home
from deepfake.console import complain, out
from deepfake.errors import DeepfakeError

app = typer.Typer(
    help="Train with `python run.py`; look at, choose and use what it made with these commands.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(runs.app, name="runs")
app.command()(models.promote)
app.command()(models.ensemble)
app.command()(predict.predict)
app.command(context_settings={"ignore_unknown_options": True})(models.evaluate)
app.command()(models.export)
app.command()(space.deploy)
app.command()(datasets.audit)
app.add_typer(datasets.cache, name="cache")


def main() -> None:
    """Run a command; what a person can mend is one line and exit code 1."""
    os.environ.setdefault("DEEPFAKE_HOME", str(home()))
    try:
        app()
    except DeepfakeError as error:
        complain(error)
        sys.exit(1)


@app.command()
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
