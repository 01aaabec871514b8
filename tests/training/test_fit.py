"""Training keeps the best weights, and an interruption changes nothing."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepfake.config import Config, compose
from deepfake.data.dataset import Data, load
from deepfake.errors import DataError, DeepfakeError
from deepfake.training import fit
from deepfake.training.fit import Trained, class_weights, train


@pytest.fixture(scope="module")
def config(small: list[str]) -> Config:
    return compose([*small, "augmentation=heavy", "trainer.epochs=4", "trainer.early_stopping=null"])


@pytest.fixture(scope="module")
def data(config: Config) -> Data:
    return load(config.dataset)


def with_trainer(config: Config, **changes: object) -> Config:
    return replace(config, trainer=replace(config.trainer, **changes))


def run(config: Config, data: Data, path: Path, stop_after: int | None = None) -> tuple[Trained | None, list[dict]]:
    """Train; with `stop_after`, interrupt it as Ctrl-C would after so many epochs."""
    epochs: list[dict] = []

    def report(epoch: int, metrics: dict[str, float]) -> None:
        epochs.append(metrics)
        if len(epochs) == stop_after:
            raise KeyboardInterrupt

    try:
        return train(config, data, path, report), epochs
    except KeyboardInterrupt:
        return None, epochs


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer=adamw", "optimizer.schedule=cosine", "optimizer.warmup_epochs=1"],
        ["optimizer=sgd", "optimizer.schedule=plateau", "optimizer.plateau_patience=1", "optimizer.learning_rate=0.5"],
        "model=residual model.filters=[8,16] model.blocks=[1,1] trainer.pairs=true optimizer.ema=0.9 "
        "+augmentation.crop=16".split(),
        "model=rich augmentation=none optimizer.ema=0.9".split(),
        "model=dct augmentation=none".split(),
    ],
)
def test_resumed_equals_uninterrupted(small: list[str], data: Data, tmp_path: Path, overrides: list[str]) -> None:
    if any(override.startswith("model=") for override in overrides):
        small = [override for override in small if not override.startswith("model.")]
    config = compose([*small, "augmentation=heavy", "trainer.epochs=4", "trainer.early_stopping=null", *overrides])
    whole, epochs = run(config, data, tmp_path / "whole.npz")
    nothing, before = run(config, data, tmp_path / "parts.npz", stop_after=2)
    resumed, after = run(config, data, tmp_path / "parts.npz")
    assert whole is not None
    assert nothing is None
    assert resumed is not None
    assert len(before) == 2
    for expected, got in zip(epochs, after, strict=True):
        for name in ("loss", "val_auc", "val_loss", "learning_rate"):
            assert got[name] == pytest.approx(expected[name], abs=1e-6), name
    for expected, got in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.slow
def test_a_pretrained_backbone_is_frozen_then_fine_tuned(small: list[str], data: Data, tmp_path: Path) -> None:
    import keras

    backbone = keras.applications.MobileNetV3Small((32, 32, 3), include_top=False, weights=None)
    backbone.save_weights(tmp_path / "backbone.weights.h5")
    small = [override for override in small if not override.startswith("model.")]
    weights = f"model.weights={tmp_path / 'backbone.weights.h5'}"
    config = compose([*small, "model=mobilenet_v3", weights, "model.frozen_epochs=1", "trainer.limit_batches=2"])
    frozen, _ = run(with_trainer(config, epochs=1), data, tmp_path / "frozen.npz")
    run(config, data, tmp_path / "parts.npz", stop_after=1)
    tuned, epochs = run(config, data, tmp_path / "parts.npz")
    assert [epoch["learning_rate"] for epoch in epochs] == pytest.approx([1e-3, 1e-4])
    assert frozen is not None
    assert tuned is not None
    before = {weight.tobytes() for weight in backbone.get_weights()}
    assert before <= {weight.tobytes() for weight in frozen.model.get_weights()}
    assert len(frozen.model.trainable_weights) == 2
    assert len(tuned.model.trainable_weights) > 2


def test_the_best_weights_are_restored(config: Config, data: Data, tmp_path: Path) -> None:
    from sklearn.metrics import roc_auc_score

    from deepfake.models.scoring import scorer

    trained, epochs = run(config, data, tmp_path / "c.npz")
    assert trained is not None
    aucs = [epoch["val_auc"] for epoch in epochs]
    assert trained.best_epoch == aucs.index(max(aucs)) + 1
    validation = data.splits["Validation"]
    assert roc_auc_score(validation.labels, scorer(trained.model)(validation.images)) == pytest.approx(
        max(aucs), abs=1e-6
    )


def test_a_step_is_traced_once(config: Config, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing a deep network takes longer than its first epoch of a small set."""
    import keras

    traced, step = [], keras.Model.train_step
    monkeypatch.setattr(keras.Model, "train_step", lambda *given: traced.append(1) or step(*given))
    _, epochs = run(config, data, tmp_path / "c.npz")
    assert (len(epochs), len(traced)) == (4, 1)


def test_training_stops_early(config: Config, data: Data, tmp_path: Path) -> None:
    stuck = replace(config, optimizer=replace(config.optimizer, learning_rate=1e-12))
    trained, epochs = run(with_trainer(stuck, epochs=9, early_stopping=2), data, tmp_path / "c.npz")
    assert trained is not None
    assert len(epochs) == trained.best_epoch + 2 < 9


def test_a_diverging_loss_says_what_to_do(small: list[str], data: Data, tmp_path: Path) -> None:
    config = compose([*small, "optimizer=adamw", "optimizer.learning_rate=100", "optimizer.weight_decay=10"])
    with pytest.raises(DeepfakeError, match="training diverged"):
        run(with_trainer(config, epochs=20, early_stopping=None), data, tmp_path / "c.npz")


def test_bfloat16_when_asked_for(config: Config, data: Data, tmp_path: Path) -> None:
    trained, _ = run(with_trainer(config, precision="bfloat16", epochs=1), data, tmp_path / "c.npz")
    assert trained is not None
    assert trained.model.get_layer("conv_1").compute_dtype == "bfloat16"
    assert {weight.dtype for weight in trained.model.get_weights()} <= {np.dtype("float32"), np.dtype("uint32")}


def test_fewer_images_than_a_batch(config: Config, data: Data, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Train has 96 images, fewer than trainer.batch_size=97"):
        run(with_trainer(config, batch_size=97), data, tmp_path / "c.npz")


def test_a_limit_on_the_batches(config: Config, data: Data, tmp_path: Path) -> None:
    _, epochs = run(with_trainer(config, limit_batches=1, epochs=1), data, tmp_path / "c.npz")
    assert len(epochs) == 1


def test_a_profile_says_where_a_step_spends_its_time(config: Config, data: Data, tmp_path: Path) -> None:
    trained, _ = run(with_trainer(config, profile=True, epochs=1), data, tmp_path / "c.npz")
    assert trained is not None
    profile = trained.profile
    assert profile is not None
    kinds = profile.by_kind()
    assert {"convolution", "matrix product", "optimizer"} <= kinds.keys()
    assert list(kinds.values()) == sorted(kinds.values(), reverse=True)
    assert 0 < kinds["convolution"] < 2 * profile.step
    assert any("Conv2DBackpropFilter" in cost.operation for cost in profile.costs)


def test_class_weights_balance_the_classes() -> None:
    weights = class_weights(np.array([0, 0, 0, 1]))
    assert weights == {0: pytest.approx(2 / 3), 1: pytest.approx(2)}


def test_the_seed_decides(config: Config, data: Data, tmp_path: Path) -> None:
    config = with_trainer(config, epochs=1)
    first, again, other = (
        run(replace(config, seed=seed), data, tmp_path / f"{number}.npz")[1][0]["loss"]
        for number, seed in enumerate((0, 0, 1))
    )
    assert first == pytest.approx(again, abs=1e-6)
    assert first != other


def test_the_dtype_policy_is_put_back() -> None:
    import keras

    before = keras.config.dtype_policy().name
    with fit.dtype_policy("bfloat16"):
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert keras.config.dtype_policy().name == before


def test_mirrored_equals_single(faces: Path, small: list[str], session_home: Path) -> None:
    """Two logical processors see half a batch each, and learn what one learns from the whole."""
    program = """
import json, sys, tensorflow as tf
from pathlib import Path
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from deepfake.config import compose
from deepfake.data.dataset import load
from deepfake.training import fit
tf.distribute.MirroredStrategy = lambda make=tf.distribute.MirroredStrategy: make(["CPU:0", "CPU:1"])
losses = {}
for strategy in ("single", "mirrored"):
    config = compose([*json.loads(sys.argv[1]), f"trainer.strategy={strategy}"])
    seen = losses.setdefault(strategy, [])
    report = lambda epoch, metrics: seen.append(metrics["loss"])
    fit.train(config, load(config.dataset), Path(sys.argv[2], strategy), report)
print(json.dumps(losses))
"""
    overrides = [*small, "model.dropout=0", "trainer.precision=float32", "augmentation=none"]
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(overrides), str(session_home / "mirrored")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    losses = json.loads(done.stdout.splitlines()[-1])
    assert losses["mirrored"] == pytest.approx(losses["single"], abs=1e-5)


def test_deterministic_means_the_same_bits(small: list[str], session_home: Path) -> None:
    program = """
import json, sys
from pathlib import Path
from deepfake.config import compose
from deepfake.data.dataset import load
from deepfake.training import fit
config = compose([*json.loads(sys.argv[1]), "trainer.deterministic=true", "augmentation=heavy"])
data = load(config.dataset)
runs = [fit.train(config, data, Path(sys.argv[2], name), lambda *_: None).model.get_weights() for name in "ab"]
assert all((one == other).all() for one, other in zip(*runs))
"""
    command = [sys.executable, "-c", program, json.dumps(small), str(session_home / "deterministic")]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("overrides", [[], ["trainer.pairs=true"], ["augmentation=self_blended"]])
def test_the_examples_are_what_the_model_sees_first(small: list[str], data: Data, overrides: list[str]) -> None:
    images, labels = fit.examples(compose([*small, *overrides]), data, 8)
    assert images.shape == (8, 32, 32, 3) and images.dtype == np.uint8
    assert labels.tolist() == [0] * 4 + [1] * 4 if overrides else set(labels) == {0, 1}


def test_fakes_may_be_left_out(small: list[str], data: Data, tmp_path: Path) -> None:
    config = compose([*small, "augmentation=self_blended", "augmentation.self_blended.only_real=true"])
    train = data.splits["Train"]
    blank = np.array(train.images)
    blank[train.labels == 1] = 0
    without = replace(data, splits=data.splits | {"Train": replace(train, images=blank)})
    (one, epochs), (other, same) = run(config, data, tmp_path / "a.npz"), run(config, without, tmp_path / "b.npz")
    assert one is not None and other is not None
    assert [epoch["loss"] for epoch in epochs] == pytest.approx([epoch["loss"] for epoch in same], abs=1e-4)


def test_a_mixed_image_counts_as_what_most_of_it_is() -> None:
    accuracy = fit._Accuracy()
    accuracy.update_state(np.array([[0.7], [0.3], [1.0], [0.0]]), np.array([[0.9], [0.1], [0.2], [0.4]]))
    assert float(accuracy.result()) == 0.75
