"""Every choice composes; every mistake is one line that names the key."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf, open_dict, read_write

from deepfake import config
from deepfake.config import CONF, AdamW, Augmentation, Backbone, Op, compose
from deepfake.errors import ConfigError

ROOT = CONF.parent
GROUPS = ("dataset", "augmentation", "model", "optimizer", "trainer", "tracking", "experiment", "search")
CHOICES = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_composes(group: str, choice: str) -> None:
    root = ["dataset.root=/faces"] if choice == "folder" else []
    composed = compose([f"{group}={choice}", *root])
    if group in ("dataset", "augmentation", "model", "optimizer"):
        assert getattr(composed, group).name == choice


def test_the_default_is_the_seed() -> None:
    composed = compose([])
    assert (composed.dataset.name, composed.augmentation.name) == ("synthetic", "standard")
    assert (composed.model.name, composed.optimizer.name) == ("cnn", "adam")


def test_heavy_is_standard_and_more() -> None:
    standard, heavy = compose(["augmentation=standard"]).augmentation, compose(["augmentation=heavy"]).augmentation
    assert (heavy.rotation, heavy.shift, heavy.flip) == (standard.rotation, standard.shift, standard.flip)
    assert standard.jpeg is None
    assert (heavy.jpeg.prob, heavy.jpeg.range) == (0.5, [30, 100])


@pytest.mark.parametrize(("choice", "prob"), [("compression", 0.5), ("compression_light", 0.1)])
def test_compression_is_a_flip_blur_and_jpeg_and_nothing_else(choice: str, prob: float) -> None:
    blur, jpeg = Op(prob=prob, range=[0.0, 3.0]), Op(prob=prob, range=[30.0, 100.0])
    assert compose([f"augmentation={choice}"]).augmentation == Augmentation(name=choice, flip=0.5, blur=blur, jpeg=jpeg)


def test_values_arrive_typed() -> None:
    composed = compose(["optimizer=adamw", "optimizer.learning_rate=3e-4", "model=xception", "seed=7"])
    assert isinstance(composed.optimizer, AdamW)
    assert composed.optimizer.learning_rate == 3e-4
    assert isinstance(composed.model, Backbone)
    assert composed.seed == 7


def test_yaml_round_trip() -> None:
    composed = compose(["augmentation=heavy", "model=meso4", "optimizer=sgd"])
    assert config.from_yaml(config.to_yaml(composed)) == composed


def test_flat_keys_are_those_that_are_typed() -> None:
    flat = config.flatten(compose(["trainer.epochs=3"]))
    assert flat["trainer.epochs"] == 3
    assert flat["augmentation.rotation.range"] == [-20.0, 20.0]


MISTAKES = [
    ("optimizer.learning_rat=1", "optimizer.learning_rat: no such key (did you mean learning_rate?)"),
    ("+optimizer.lr=1", "optimizer.lr: no such key"),
    ("+foo=1", "foo: no such key; there are: augmentation"),
    ("+model._target_=os.system", "model._target_: no such key"),
    ("augmentation=hevy", "augmentation=hevy: no such choice (did you mean heavy?); there are: compression, "),
    (
        "trainer.pairs=true trainer.batch_size=33",
        "trainer.batch_size=33: where real and fake images are paired it should",
    ),
    ("augmentation=self_blended trainer.batch_size=33", "trainer.batch_size=33: where real and fake"),
    ("model=residual +augmentation.crop=96", "augmentation.crop=96: should be at most dataset.image_size=64"),
    ("+augmentation.crop=32", "augmentation.crop=32: model=cnn has a weight for each place in the picture"),
    ("model=residual model.blocks=[1,2]", "model.blocks=[1, 2]: should be as many numbers as model.filters="),
    ("agumentation=heavy", "agumentation: no such key (did you mean augmentation?)"),
    ("dataset=folder", "dataset.root is missing"),
    ("dataset.root=/faces", "dataset.root: this choice has no such key; it belongs to dataset=folder"),
    (
        "augmentation=none augmentation.flip=0.5",
        "augmentation.flip: this choice of augmentation does not name it; add it",
    ),
    ("augmentation.blur.prob=1", "augmentation.blur is null here"),
    ("optimizer.learning_rate=abc", "optimizer.learning_rate=abc: should be a valid number"),
    ("optimizer.learning_rate=-1", "optimizer.learning_rate=-1: should be greater than 0"),
    ("optimizer.learning_rate=nan", "optimizer.learning_rate=nan: should be a finite number"),
    ("optimizer.learning_rate=inf", "optimizer.learning_rate=inf: should be a finite number"),
    ("trainer.batch_size=0", "trainer.batch_size=0: should be greater than or equal to 1"),
    ("trainer.batch_size=1.5", "trainer.batch_size=1.5: should be a valid integer"),
    ("trainer.epochs=true", "trainer.epochs=True: should be a valid integer"),
    ("trainer.epochs=9999999999999999999", "trainer.epochs=9999999999999999999: should be less than or equal to"),
    ("trainer.precision=int8", "trainer.precision=int8: should be 'auto', 'float32' or 'bfloat16'"),
    ("dataset.image_size=0", "dataset.image_size=0: should be greater than or equal to 16"),
    ("dataset.max_unreadable=1.1", "dataset.max_unreadable=1.1: should be less than or equal to 1"),
    ("dataset.limit=${nope}", "dataset.limit: Interpolation key 'nope' not found"),
    ("model.name=foo", "model.name=foo: should be one of 'cnn', 'cnn_bn'"),
    ("seed=", "seed=: should be a valid integer"),
    ("seed=-1", "seed=-1: should be greater than or equal to 0"),
    ("~trainer.epochs", "trainer.epochs is missing"),
    ("trainer=5", "Config group override must be a string or a list"),
]


@pytest.mark.parametrize(("override", "line"), MISTAKES)
def test_a_mistake_is_one_line(override: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(override.split())
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_launcher_that_is_not_installed_is_named_with_its_package() -> None:
    error = MissingConfigException("not found", "hydra/launcher/ray", ["basic", "joblib"])
    assert config.explain(error) == "hydra/launcher=ray: not installed: pip install hydra-ray-launcher"
    error = MissingConfigException("not found", "hydra/launcher/joblob", ["basic", "joblib"])
    assert config.explain(error).startswith("hydra/launcher=joblob: no such choice (did you mean joblib?)")


def test_a_range_has_its_limits() -> None:
    with pytest.raises(ConfigError, match=r"augmentation.jpeg=.*1 <= low <= high <= 100"):
        compose(["augmentation=heavy", "augmentation.jpeg.range=[90,30]"])


def test_a_folder_whose_name_is_not_utf8_is_named() -> None:
    with pytest.raises(ConfigError, match=r"not valid UTF-8, in .*/faces/caf\\udce9.*: rename the folder"):
        compose(["dataset=folder", "dataset.root='" + os.fsdecode(b"/faces/caf\xe9") + "'"])


def test_a_mistake_in_a_file_is_found(tmp_path: Path) -> None:
    tree = config.to_dict(compose([]))
    tree["augmentation"]["strenght"] = 1
    with pytest.raises(ConfigError, match="augmentation.strenght: no such key"):
        config.validate(tree)


@pytest.mark.parametrize(
    "override", ["trainer.epochz=1", "+foo=1", "augmentation=hevy", "trainer.epochs=-1", "trainer=5"]
)
def test_run_answers_a_mistake_with_one_line_and_exit_code_1(override: str) -> None:
    done = subprocess.run([sys.executable, "run.py", override], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not done.stdout


@pytest.mark.parametrize("argument", ["--help", "--cfg=job", "trainer.epochs=-1"])
def test_nothing_heavy_is_imported_to_answer(argument: str) -> None:
    program = f"""
        import runpy, sys
        sys.argv = ["run.py", {argument!r}]
        try:
            runpy.run_path("run.py", run_name="__main__")
        except SystemExit:
            pass
        heavy = {{"tensorflow", "keras", "mlflow", "gradio", "matplotlib", "sklearn"}} & set(sys.modules)
        assert not heavy, heavy
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_help_names_every_choice() -> None:
    done = subprocess.run([sys.executable, "run.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for group, choice in CHOICES:
        if group not in ("trainer", "tracking"):
            line = next(line for line in done.stdout.splitlines() if line.strip().startswith(group + " "))
            assert choice in line, (group, choice)


@pytest.mark.parametrize("path", sorted((CONF / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_says_how_it_is_run_and_what_it_takes(path: Path) -> None:
    _, command, what, cost, *_ = path.read_text().splitlines()
    assert command == f"# python run.py experiment={path.stem}"
    assert what.startswith("# ")
    assert cost.startswith("# Takes ")


@pytest.fixture
def ray_launcher(monkeypatch: pytest.MonkeyPatch):
    """What the Ray plugin's own configuration composes to, which takes no new keys."""
    for name in ("RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED", "RAY_DEDUP_LOGS"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    launcher = OmegaConf.create({"ray": {"init": {"address": None}, "remote": {}}})
    OmegaConf.set_struct(launcher, True)
    OmegaConf.set_readonly(launcher, True)
    return launcher


def test_without_an_address_ray_is_this_sweeps_own(ray_launcher) -> None:
    config.complete_ray(ray_launcher)
    assert ray_launcher.ray.init == {"address": "local", "include_dashboard": False}
    assert ray_launcher.ray.remote == {"num_cpus": 1, "max_calls": 1}


def test_a_cluster_is_told_where_to_log(ray_launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    with open_dict(ray_launcher), read_write(ray_launcher):
        ray_launcher.ray.init.address = "ray://head:10001"
        ray_launcher.ray.remote = {"num_cpus": 4}
    config.complete_ray(ray_launcher)
    passed_on = ray_launcher.ray.init.runtime_env.env_vars
    assert passed_on["MLFLOW_TRACKING_URI"] == "http://server:5000"
    assert "HOME" not in passed_on
    assert (ray_launcher.ray.init.address, ray_launcher.ray.init.object_store_memory) == ("ray://head:10001", None)
    assert ray_launcher.ray.remote == {"num_cpus": 4, "max_calls": 1}
    assert "RAY_AUTH_MODE" not in os.environ
