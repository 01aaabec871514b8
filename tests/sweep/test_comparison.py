"""What came of a sweep, in a table, a page and a picture."""

import statistics
from pathlib import Path

import pandas as pd
import pytest

from deepfake.sweep import comparison


def a_run(job: int, auc: float | None, **overrides: str) -> dict:
    metrics = {} if auc is None else {"validation/auc": auc, "test/auc": auc - 0.01, "epoch/loss": 0.5}
    return {
        "job": job,
        "run_id": f"{job:032x}",
        "status": "FINISHED" if metrics else "FAILED",
        "seconds": 10.0 + job,
        "overrides": overrides,
        "metrics": metrics,
        "params": {"trainer.epochs": "3", **overrides},
    }


@pytest.fixture
def runs() -> list[dict]:
    return [
        a_run(0, 0.70, augmentation="none", seed="1"),
        a_run(1, 0.74, augmentation="none", seed="2"),
        a_run(2, 0.90, augmentation="heavy", seed="1"),
        a_run(3, 0.80, augmentation="heavy", seed="2"),
        a_run(4, None, augmentation="heavy", seed="3"),
    ]


def test_the_average_over_seeds(runs: list[dict]) -> None:
    averaged = comparison.over_seeds(comparison.tabulate(runs), ["augmentation", "seed"])
    assert averaged["augmentation"].tolist() == ["heavy", "none"]
    assert averaged["runs"].tolist() == [2, 2]
    assert averaged["validation_mean"].tolist() == pytest.approx([0.85, 0.72])
    assert averaged["validation_sd"].tolist() == pytest.approx(
        [statistics.stdev([0.9, 0.8]), statistics.stdev([0.7, 0.74])]
    )
    assert averaged["test_mean"].tolist() == pytest.approx([0.84, 0.71])


def test_of_seeds_alone_there_is_one_average(runs: list[dict], capsys: pytest.CaptureFixture[str]) -> None:
    averaged = comparison.over_seeds(comparison.tabulate(runs[:2]), ["seed"])
    assert averaged[["runs", "validation_mean"]].to_numpy().tolist() == [[2, pytest.approx(0.72)]]
    comparison.show(runs[:2], ["seed"])
    assert "0.7200 ± 0.0283" in capsys.readouterr().out


def test_the_files(runs: list[dict], tmp_path: Path) -> None:
    comparison.write(tmp_path, runs, ["augmentation", "seed"])
    table = pd.read_csv(tmp_path / "runs.csv")
    assert table["job"].tolist() == [2, 3, 1, 0, 4]  # the best first, what failed last
    assert {"run_id", "status", "seconds", "trainer.epochs", "test/auc", "override.seed"} <= set(table.columns)
    assert len(pd.read_csv(tmp_path / "over_seeds.csv")) == 2
    assert (tmp_path / "factors.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "comparison.html").read_text()
    assert "data:image/png;base64," in page
    assert "http" not in page
    for shown in (f"{2:032x}", "heavy", "FAILED"):
        assert shown in page


def test_text_from_outside_is_no_markup(tmp_path: Path) -> None:
    comparison.write(tmp_path, [a_run(0, 0.7, model="<script>alert(1)</script>")], ["model"])
    assert "<script>" not in (tmp_path / "comparison.html").read_text()


def test_a_choice_is_drawn_as_a_list_and_many_numbers_along_an_axis(runs: list[dict]) -> None:
    rates = [10 ** (-4 + number / 4) for number in range(8)]
    runs = [
        a_run(n, 0.7 + n / 100, rate=str(rate), model="ab"[n % 2], dropout=str(n / 10)) for n, rate in enumerate(rates)
    ]
    rate, model, dropout = comparison.draw_factors(comparison.tabulate(runs), ["rate", "model", "dropout"]).axes
    assert (rate.get_xscale(), dropout.get_xscale()) == ("log", "linear")
    assert [label.get_text() for label in model.get_xticklabels()] == ["a", "b"]
    star = next(line for line in rate.lines if line.get_marker() == "*")
    assert star.get_xydata().tolist() == [[pytest.approx(rates[-1]), pytest.approx(0.77)]]
