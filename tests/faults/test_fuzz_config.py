"""Overrides at random: a valid configuration, or one line; nothing is written, and nothing of another module runs."""

from pathlib import Path

import pytest
from hypothesis import strategies as st

from deepfake import config
from deepfake.config import Config, compose
from deepfake.errors import ConfigError
from tests.faults.fuzzing import examples

pytestmark = pytest.mark.faults

CORPUS = Path(__file__).with_name("corpus") / "overrides.txt"
GROUPS = ("dataset", "augmentation", "model", "optimizer", "trainer", "evaluation", "tracking", "sweep", "experiment")
HYDRA = ("hydra.run.dir", "hydra.mode", "hydra.job.name", "hydra/launcher", "hydra.callbacks", "defaults", "_target_")


def check(overrides: list[str]) -> None:
    try:
        composed = compose(overrides)
    except ConfigError as error:
        assert str(error).isprintable(), overrides
        assert 0 < len(str(error)) <= 1000, overrides
        return
    assert isinstance(composed, Config)
    assert config.validate(config.to_dict(composed)) == composed


def keys() -> st.SearchStrategy[str]:
    known = [key for base in ([], ["dataset=folder", "dataset.root=x", "model=residual"]) for key in flat(base)]
    deeper = st.tuples(st.sampled_from([*known, *GROUPS]), st.sampled_from(["name", "_target_", "prob", "0", ""]))
    return st.sampled_from([*known, *GROUPS, *HYDRA]) | deeper.map(".".join)


def flat(base: list[str]) -> list[str]:
    return list(config.flatten(compose(base)))


def values() -> st.SearchStrategy[str]:
    words = [
        "",
        "null",
        "nan",
        "-inf",
        "1e999",
        "true",
        "???",
        "none",
        "folder",
        "os.system",
        "'",
        '"',
        "\\",
        "${",
        "}",
    ]
    plain = st.sampled_from(words) | st.integers().map(str) | st.floats().map(repr) | st.text(max_size=8)
    plain |= st.sampled_from(["seed", "oc.env:HOME", "oc.create:{a:1}", "model", ".", "now:%Y"]).map("${{{}}}".format)
    return st.recursive(
        plain,
        lambda inner: (
            st.lists(inner, max_size=3).map(lambda some: f"[{','.join(some)}]")
            | st.tuples(st.sampled_from(["name", "_target_", "prob", "range"]), inner).map("{{{0[0]}:{0[1]}}}".format)
            | st.tuples(inner, inner).map(",".join)
            | inner.map("'{}'".format)
            | inner.map("range({})".format)
        ),
        max_leaves=4,
    )


def overrides() -> st.SearchStrategy[list[str]]:
    one = st.tuples(st.sampled_from(["", "", "", "+", "++", "~"]), keys(), st.just("="), values()).map("".join)
    return st.lists(one | st.text(max_size=12), min_size=1, max_size=3)


def test_overrides_at_random(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    examples(check, overrides())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("line", CORPUS.read_text(encoding="utf-8").splitlines())
def test_what_was_found(line: str) -> None:
    check(line.encode().decode("unicode_escape").split(" "))
