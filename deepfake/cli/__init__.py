"""The commands of `python -m deepfake`, a module for each kind of thing they are about."""

import os
import sys

import typer

from deepfake.cli import datasets, models, predict, runs, space, store
from deepfake.config import home
from deepfake.console import complain
from deepfake.errors import DeepfakeError, told

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
app.command()(store.ui)
app.command()(store.sync)
app.command()(store.relocate)


def main() -> None:
    """Run a command; what a person can mend is one line and exit code 1."""
    os.environ["DEEPFAKE_HOME"] = str(home())
    try:
        with told():
            app()
    except DeepfakeError as error:
        complain(error)
        sys.exit(1)
