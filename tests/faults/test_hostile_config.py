"""Every key of the schema, given what it cannot hold: one line before anything starts, or a value that is allowed."""

import copy
import functools
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from deepfake import config
from deepfake.config import CONF, Config, compose
from deepfake.errors import ConfigError

pytestmark = pytest.mark.faults

ROOT = CONF.parent
CHOICES = (  # together they name every key
    "dataset=synthetic augmentation=heavy model=residual optimizer=adamw",
    "dataset=folder dataset.root=/faces augmentation=self_blended model=xception optimizer=sgd",
    "dataset=kaggle augmentation=heavy model=cnn optimizer=adam",
)
TYPED = (
    *("nan", "inf", "-inf", "1e308", "1e400", "-1", "''", "word", "null", "[]", "{}", "true", "???"),
    *("[nan]", "[null]", "[[[1]]]", "{a:{b:1}}", "${nope}", "${model}", "${oc.env:NOPE}", "${oc.env:HOME}"),
    *("'${oc.create:{a:1}}'", "'${oc.decode:word}'", "'${seed}.${seed}'"),
)
STRANGE = {  # as a person types them
    **dict(zip(TYPED, TYPED, strict=True)),
    "a command": "{_target_:os.system,_args_:[true]}",
    "a large number": "9" * 30,
    "a long word": "x" * 10**4,
    "half a letter": "'\ud800'",
    "nothing": "'\0'",
    "two lines": "'a\nb'",
    "an escape": "'\x1b[31m'",
}
NO_NUMBER = ("nan", "inf", "-inf", "1e400", "''", "word", "[]", "{}", "[nan]")


def leaves() -> dict[str, str]:
    """Every key, and a base that has it."""
    return {key: base for base in CHOICES for key in config.flatten(compose(base.split()))}


@pytest.fixture(scope="module")
def trees() -> dict[str, dict]:
    """What Hydra composes of each base, to be changed as it does for an override: to compose anew takes much longer."""
    with initialize_config_dir(str(CONF), version_base=None):
        return {base: OmegaConf.to_container(hydra_compose("config", overrides=base.split())) for base in CHOICES}


@pytest.fixture(scope="module")
def strange() -> dict[str, Any]:
    """The values, as Hydra reads them."""
    return {name: config.parse([f"key={value}"])["key"].value() for name, value in STRANGE.items()}


def answer(tree: dict, key: str, value: Any) -> Config | str:
    changed = copy.deepcopy(tree)
    *groups, last = key.split(".")
    functools.reduce(dict.__getitem__, groups, changed)[last] = value
    try:
        return config.validate(changed)
    except ConfigError as error:
        return str(error)


def numbers(value: Any) -> list[float]:
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, float) else []


@pytest.mark.parametrize(("key", "base"), leaves().items(), ids=lambda text: text.split()[0])
def test_a_strange_value(trees: dict[str, dict], strange: dict[str, Any], key: str, base: str) -> None:
    is_number = isinstance(config.flatten(config.validate(trees[base]))[key], int | float)
    for name, value in strange.items():
        said = answer(trees[base], key, value)
        if isinstance(said, Config):
            flat = config.flatten(said)
            assert not (is_number and name in NO_NUMBER), name
            assert all(math.isfinite(number) for value in flat.values() for number in numbers(value)), name
            assert config.from_yaml(config.to_yaml(said)) == said, name
        else:
            assert said.isprintable(), name
            assert len(said) <= 1000, name
            assert key.rsplit(".", maxsplit=1)[-1] in said or "a value cannot be read" in said or "range" in key, (
                name,
                said,
            )


@pytest.mark.parametrize(
    "overrides",
    [
        ["seed=${seed}"],
        ["seed=${dataset.seed}", "dataset.seed=${seed}"],
        ["model=${model}"],
        ["seed=" + "1" * 5000],
        ["seed=" + "[" * 3000 + "]" * 3000],
        ["seed=${.}"],
        ["seed={null:1}"],
        ["+model.deep._target_=os.system"],
        ["+_target_=os.system"],
        ["+trainer.deep={_target_:os.system,_args_:[true]}"],
        ["optimizer={_target_:os.system,_args_:[true]}"],
        ["~model"],
        ["~dataset.name"],
        ["=1"],
        ["+"],
        ["seed@a=1"],
    ],
    ids=lambda overrides: " ".join(overrides)[:40],
)
def test_what_composes_to_nothing(overrides: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(overrides)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 1000


@pytest.mark.parametrize(
    "override",
    [
        "seed=" + "1" * 5000,
        "seed=" + "[" * 3000 + "]" * 3000,
        "seed=${seed}",
        "dataset.root='a\nb'",
        "hydra.run.dir=${nope}",
        "+hydra.callbacks.evil={_target_:os.system,command:'touch ran'}",
        "+model={_target_:os.system,command:'touch ran'}",
        "seed=${oc.env:NOPE}",
    ],
    ids=lambda override: override[:40],
)
def test_as_a_user_types_it(home: Path, tmp_path: Path, override: str) -> None:
    command = [sys.executable, str(ROOT / "run.py"), override]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout
    assert list(tmp_path.iterdir()) == [home]
    assert not list(home.rglob("*.db"))  # no run was made
