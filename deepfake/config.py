"""The schema of a run: what every configuration key is called, holds and allows.

The YAML files in `conf/` hold the values; the dataclasses here hold the names, the types and the ranges. Whatever Hydra
composes goes through `validate`, so a key that is not in the schema never reaches the code. This is the only module
that knows OmegaConf and Hydra's errors.
"""

import difflib
import hashlib
import json
import os
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_type_hints

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, ListConfig, OmegaConf, flag_override
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from deepfake.errors import ConfigError, DeepfakeError, one_line

PROJECT = Path(__file__).resolve().parent.parent
CONF = PROJECT / "conf"
SPLITS = ("Train", "Validation", "Test")
LAUNCHERS = {"ray": "hydra-ray-launcher", "submitit_slurm": "hydra-submitit-launcher"}  # no requirement: few need them

if TYPE_CHECKING:
    from dataclasses import dataclass as strict  # all that a type checker needs to know of it
else:
    strict = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


def _printable(text: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError("should have no control characters, like a line break")
    return text


Text = Annotated[str, Field(min_length=1), AfterValidator(_printable)]  # of paths and names


def home() -> Path:
    """Return the folder that holds `data/` and `mlruns/`: `DEEPFAKE_HOME`, or the project itself."""
    return Path(os.environ.get("DEEPFAKE_HOME") or PROJECT).resolve()


# --------------------------------------------------------------------------------------------------------- dataset


@strict
class DatasetBase:
    """What every data set has.

    Attributes:
        image_size: Side in pixels of the square image the model sees.
        resize: How a picture becomes a square: `squash` it, `crop` its middle, or `pad` it with black.
        class_names: Names of the negative and the positive class, in that order; also their folders' names.
        limit: At most this many images of each class in each split; null for all.
        max_unreadable: Share of unreadable files, 0 to 1, past which a run fails.
        cache_limit: Gigabytes that the decoded images of all data sets may take on the disk.
        audit: Before a run, `warn` of what the data give away, `refuse` to train on what is not fit, or neither: `off`.
    """

    image_size: Annotated[int, Field(ge=16, le=1024)]
    resize: Literal["squash", "crop", "pad"]
    class_names: Annotated[list[Text], Field(min_length=2, max_length=2)]
    limit: Count | None
    max_unreadable: Fraction
    cache_limit: Annotated[float, Field(gt=0, le=1e9)]
    audit: Literal["warn", "refuse", "off"]


@strict
class SyntheticDataset(DatasetBase):
    """Faces drawn by this project's own code; `images` of each class in all splits together, drawn from `seed`."""

    name: Literal["synthetic"]
    images: Annotated[int, Field(ge=20, le=100_000)]
    seed: Annotated[int, Field(ge=0)]


@strict
class FolderDataset(DatasetBase):
    """A folder of labelled images.

    Attributes:
        root: The folder.
        validation_fraction: Share of the images for Validation, where the folder has no splits of its own.
        test_fraction: Share of the images for Test, likewise.
        split_seed: Seed of that split.
        split_file: A CSV of `path,split` that says which images are used, and for what; null for all.
    """

    name: Literal["folder"]
    root: Text
    validation_fraction: Annotated[float, Field(gt=0, lt=1)]
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    split_seed: Annotated[int, Field(ge=0)]
    split_file: Text | None


@strict
class KaggleDataset(DatasetBase):
    """A Kaggle data set, downloaded once, then used like a folder. `handle` is its `owner/name`."""

    name: Literal["kaggle"]
    handle: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    validation_fraction: Annotated[float, Field(gt=0, lt=1)]
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    split_seed: Annotated[int, Field(ge=0)]
    split_file: Text | None


Dataset = SyntheticDataset | FolderDataset | KaggleDataset

# ---------------------------------------------------------------------------------------------------- augmentation


@strict
class Op:
    """One random operation: applied with probability `prob`, its strength drawn uniformly from `range`."""

    prob: Fraction
    range: Annotated[list[float], Field(min_length=2, max_length=2)]


def _within(low: float, high: float) -> AfterValidator:
    def check(op: Op | None) -> Op | None:
        if op is not None and not low <= op.range[0] <= op.range[1] <= high:
            raise ValueError(f"range should be [low, high] with {low:g} <= low <= high <= {high:g}")
        return op

    return AfterValidator(check)


@strict
class SelfBlended:
    """Fakes made of Train's real images while training: each its own source and target (Shiohara & Yamasaki 2022).

    Attributes:
        prob: How often a real image is paired with a blend of itself instead of one of the data set's fakes.
        only_real: Whether the data set's fakes are left alone, so that every fake is a blend, whatever `prob` says.
    """

    prob: Fraction
    only_real: bool


@strict
class Augmentation:
    """What is done to Train images. An operation that is null, or not named, is not done.

    Attributes:
        crop: Side in pixels of a random square that is cut out and trained on, at the scale of the whole; null for all.
        self_blended: Fakes made of real images, before anything else is done.
        rotation: Degrees.
        shift: Share of the side, drawn for x and y apart.
        shear: Degrees.
        zoom: Scale factor; above 1 the face grows.
        flip: Probability of a mirror image.
        border: What fills the part of the picture that a warp uncovers.
        brightness: Added, as a share of the full scale.
        contrast: Relative change of the distance from the image's mean.
        saturation: Relative change of the distance from grey.
        blur: Gaussian sigma in pixels.
        downscale: Factor to which the picture is shrunk before it is enlarged again.
        noise: Standard deviation of Gaussian noise, in grey levels.
        jpeg: JPEG quality.
        erasing: Share of the area of a rectangle that is replaced by noise (Zhong et al. 2020).
        cutmix: Share of the area of a rectangle that is another image's, as is that share of the label.
        mixup: Share of another image that is laid over all of it, as over its label.
    """

    name: Text
    crop: Annotated[int, Field(ge=16)] | None = None
    self_blended: SelfBlended | None = None
    rotation: Annotated[Op | None, _within(-180, 180)] = None
    shift: Annotated[Op | None, _within(-1, 1)] = None
    shear: Annotated[Op | None, _within(-80, 80)] = None
    zoom: Annotated[Op | None, _within(0.1, 10)] = None
    flip: Fraction = 0.0
    border: Literal["reflect", "edge", "black"] = "reflect"
    brightness: Annotated[Op | None, _within(-1, 1)] = None
    contrast: Annotated[Op | None, _within(-1, 10)] = None
    saturation: Annotated[Op | None, _within(-1, 10)] = None
    blur: Annotated[Op | None, _within(0, 50)] = None
    downscale: Annotated[Op | None, _within(0.05, 1)] = None
    noise: Annotated[Op | None, _within(0, 255)] = None
    jpeg: Annotated[Op | None, _within(1, 100)] = None
    erasing: Annotated[Op | None, _within(0, 1)] = None
    cutmix: Annotated[Op | None, _within(0, 1)] = None
    mixup: Annotated[Op | None, _within(0, 1)] = None


# ----------------------------------------------------------------------------------------------------------- model

Filters = Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=1, max_length=8)]
Dropout = Annotated[float, Field(ge=0, lt=1)]


@strict
class ModelBase:
    """What every network has.

    Attributes:
        front_end: Fixed filters before the network, whose residuals it gets in place of the pixels (see
            `models.front_end`); `none` for the pixels themselves.
        beside_rgb: Whether it gets the pixels as well; without a front end, that is so anyway.
    """

    front_end: Literal["none", "srm", "npr", "highpass"]
    beside_rgb: bool


@strict
class Cnn(ModelBase):
    """The seed: Conv-ReLU-Pool for each of `filters`, Flatten, Dense of `dense` units, Dropout, sigmoid."""

    name: Literal["cnn"]
    filters: Filters
    dense: Annotated[int, Field(ge=1, le=65536)]
    dropout: Dropout


@strict
class CnnBn(ModelBase):
    """A deeper all-convolutional net with batch normalisation; each of `filters` is a stage of two convolutions."""

    name: Literal["cnn_bn"]
    filters: Filters
    dropout: Dropout


@strict
class Meso4(ModelBase):
    """MesoNet-4 (Afchar et al. 2018)."""

    name: Literal["meso4"]
    dropout: Dropout


@strict
class Residual(ModelBase):
    """A residual net that learns from scratch, without batch normalisation.

    Attributes:
        filters: Channels of each stage; from the second stage on, each begins by halving the side.
        blocks: Residual blocks of each stage.
        block: Two 3x3 convolutions (`plain`), or a 3x3 depthwise one between two of 1x1 (`inverted`).
        stem_stride: 2 halves the side before the first stage, 1 keeps every pixel.
        standardise: Whether kernels are standardised while the net trains.
        dropout: Before the last layer.
    """

    name: Literal["residual"]
    filters: Filters
    blocks: Annotated[list[Annotated[int, Field(ge=1, le=32)]], Field(min_length=1, max_length=8)]
    block: Literal["plain", "inverted"]
    stem_stride: Literal[1, 2]
    standardise: bool
    dropout: Dropout


@strict
class Rich(ModelBase):
    """A linear classifier of how often small patterns of noise occur (Fridrich & Kodovsky 2012); see `models.rich`."""

    name: Literal["rich"]
    dropout: Dropout


@strict
class Dct(ModelBase):
    """A linear classifier of how strong frequencies are on JPEG's grid (Holub & Fridrich 2015); see `models.dct`."""

    name: Literal["dct"]
    dropout: Dropout


@strict
class Backbone(ModelBase):
    """A network of `keras.applications` with a new head.

    Attributes:
        name: Which network.
        weights: null to learn from scratch, `imagenet`, or the path of a weights file.
        dropout: Dropout before the last layer.
        frozen_epochs: With pretrained weights, epochs in which only the head learns.
        fine_tune_factor: Factor on the learning rate once the backbone learns too.
    """

    name: Literal["mobilenet_v3", "efficientnet_b0", "xception"]
    weights: Text | None
    dropout: Dropout
    frozen_epochs: Annotated[int, Field(ge=0)]
    fine_tune_factor: Annotated[float, Field(gt=0, le=1)]


@strict
class Ensemble:
    """The average of the models of finished runs. `python -m deepfake ensemble` makes one; none is trained.

    Attributes:
        members: The first eight characters of the runs' ids.
        networks: Names of their models.
        mixed: Settings of the training in which the runs differ. Of these, a configuration holds those of the first.
    """

    name: Literal["ensemble"]
    members: Annotated[list[str], Field(min_length=2)]
    networks: Annotated[list[str], Field(min_length=2)]
    mixed: list[str]


Model = Cnn | CnnBn | Meso4 | Residual | Rich | Dct | Backbone | Ensemble

# ------------------------------------------------------------------------------------------------------- optimizer


@strict
class OptimizerBase:
    """What every optimizer has.

    Attributes:
        learning_rate: The highest learning rate of the run.
        schedule: `constant`; `cosine` to zero; or `plateau`, which multiplies the rate by `plateau_factor` after
            `plateau_patience` epochs without a better validation AUC.
        warmup_epochs: Epochs, or a part of one, in which the rate first climbs from zero.
        clip_norm: Largest norm of the whole gradient; null for no clipping.
        ema: Momentum of an exponential average of the weights, a step at a time, which is judged and kept in their
            place (Polyak & Juditsky 1992); 0 for none.
    """

    learning_rate: Annotated[float, Field(gt=0, le=100)]
    schedule: Literal["constant", "cosine", "plateau"]
    warmup_epochs: Annotated[float, Field(ge=0, le=100_000)]
    plateau_factor: Annotated[float, Field(gt=0, lt=1)]
    plateau_patience: Count
    clip_norm: Positive | None
    ema: Annotated[float, Field(ge=0, lt=1)]


@strict
class Adam(OptimizerBase):
    """Adam (Kingma & Ba 2015)."""

    name: Literal["adam"]
    beta_1: Annotated[float, Field(ge=0, lt=1)]
    beta_2: Annotated[float, Field(ge=0, lt=1)]


@strict
class AdamW(OptimizerBase):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), on kernels only."""

    name: Literal["adamw"]
    beta_1: Annotated[float, Field(ge=0, lt=1)]
    beta_2: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0, le=10)]


@strict
class Sgd(OptimizerBase):
    """Stochastic gradient descent."""

    name: Literal["sgd"]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    nesterov: bool


Optimizer = Adam | AdamW | Sgd

# ------------------------------------------------------------------------------------------------ trainer, tracking


@strict
class Trainer:
    """How a model is trained.

    Attributes:
        epochs: At most this many.
        batch_size: Images a step.
        pairs: Whether a batch is half real and half fake, each fake beside the real image of its group that is most
            like it, and both augmented with the same draw, so that what differs is the manipulation alone.
        class_weights: `balanced` weighs each class by the inverse of its share of Train; `none` weighs all alike.
        label_smoothing: Share of a label that is given to the other class.
        precision: `auto` is bfloat16 on GPUs and processors that compute in it, float32 elsewhere.
        early_stopping: Epochs without a better validation AUC after which training ends; null to train on.
        deterministic: Whether two runs on a machine give the same bits, which is slower: it computes on all cores,
            however many a launcher grants.
        strategy: `single` device, or `mirrored` over all GPUs of this machine.
        limit_batches: At most this many steps an epoch, for a quick look; null for all.
        profile: Whether to write a table of where the time of a step goes.
    """

    epochs: Annotated[int, Field(ge=1, le=100_000)]
    batch_size: Annotated[int, Field(ge=1, le=65_536)]
    pairs: bool
    class_weights: Literal["balanced", "none"]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    precision: Literal["auto", "float32", "bfloat16"]
    early_stopping: Count | None
    deterministic: bool
    strategy: Literal["single", "mirrored"]
    limit_batches: Count | None
    profile: bool


@strict
class Evaluation:
    """What is measured of a trained model, beside its metrics on Validation and Test.

    Attributes:
        also: Folders of other labelled images to measure it on, laid out like `dataset.root`.
        robustness: Whether to measure Test again, degraded in six ways at five strengths each.
        robustness_images: At most this many images of each class for that; null for all.
        certainty: Share of the verdicts Real and Fake that should be right on Validation; other images are Unsure.
    """

    also: list[Text]
    robustness: bool
    robustness_images: Count | None
    certainty: Annotated[float, Field(ge=0.5, lt=1)]


@strict
class Tracking:
    """Where a run is recorded, and when its model becomes the champion.

    Attributes:
        experiment: Of MLflow.
        model_name: Under which the model becomes a version.
        register: Whether it does.
        promote_at: Probability, by a paired bootstrap on the same Validation images, that the new model's AUC is higher
            than the champion's, over which the new one becomes the champion.
    """

    experiment: Text
    model_name: Annotated[str, Field(min_length=1, pattern=r"^[^/:\x00-\x1f\x7f]+$")]
    register: bool
    promote_at: Annotated[float, Field(ge=0, lt=1)]


@strict
class Sweep:
    """How a sweep is run.

    Attributes:
        skip_finished: Whether a job is passed over whose result a finished run already holds.
        dry_run: Whether to say what would be run, and run nothing.
    """

    skip_finished: bool
    dry_run: bool


@strict
class Config:
    """One run."""

    dataset: Annotated[Dataset, Field(discriminator="name")]
    augmentation: Augmentation
    model: Annotated[Model, Field(discriminator="name")]
    optimizer: Annotated[Optimizer, Field(discriminator="name")]
    trainer: Trainer
    evaluation: Evaluation
    tracking: Tracking
    sweep: Sweep
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)]
    resume: Text | None


# ------------------------------------------------------------------------------------------------------ validation


def compose(overrides: list[str]) -> Config:
    """Compose `conf/config.yaml` with overrides, as `run.py` does.

    Args:
        overrides: Hydra overrides, like `["augmentation=heavy", "trainer.epochs=3"]`.

    Returns:
        The checked configuration.

    Raises:
        ConfigError: If an override names no key or group, or a value is not allowed.
    """
    within_run_py = GlobalHydra.instance().is_initialized()
    try:
        with nullcontext() if within_run_py else initialize_config_dir(str(CONF), version_base=None):
            return validate(hydra_compose("config", overrides=overrides))
    except (HydraException, OmegaConfBaseException, ValueError, RecursionError) as error:
        raise ConfigError(explain(error)) from error


def folder_like(root: str, like: Dataset) -> FolderDataset:
    """Return the settings of another folder whose images are read as those of a data set.

    Args:
        root: The folder.
        like: That data set: its square, class names and limits.

    Returns:
        The settings.
    """
    shared = {field.name: getattr(like, field.name) for field in fields(DatasetBase)}
    folder = compose(["dataset=folder", "dataset.root=."]).dataset
    assert isinstance(folder, FolderDataset)  # as was asked for
    return replace(folder, root=root, **shared)


def parse(overrides: Sequence[str]) -> dict[str, Override]:
    """Read overrides in Hydra's grammar, sweeps as well; of two for one key, the last holds.

    Args:
        overrides: Like `["augmentation=none,heavy", "seed=1"]`.

    Returns:
        Each by its key, in their order.

    Raises:
        ConfigError: If one is malformed.
    """
    running = GlobalHydra.instance()
    loader = running.config_loader() if running.is_initialized() else None  # which `glob` asks for the choices
    try:
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    except (HydraException, ValueError, RecursionError) as error:
        raise ConfigError(explain(error)) from error
    return {override.get_key_element(): override for override in parsed}


def validate(composed: DictConfig | ListConfig | dict[str, Any]) -> Config:
    """Turn what Hydra composed into typed values.

    Args:
        composed: The configuration tree, or the same as a plain dict.

    Returns:
        The checked configuration.

    Raises:
        ConfigError: If a key is missing or unknown, or a value has the wrong type or is out of range.
    """
    try:
        tree = OmegaConf.to_container(OmegaConf.create(composed), resolve=True, throw_on_missing=True)
        told = json.dumps(tree, ensure_ascii=False).encode()
        config = TypeAdapter(Config).validate_json(told)  # from JSON, strict takes dicts for dataclasses
    except UnicodeEncodeError as error:
        around = ascii(error.object[max(error.start - 60, 0) : error.end + 20])
        raise ConfigError(f"a name that is not valid UTF-8, in {around}: rename the folder or file") from None
    except (OmegaConfBaseException, ValueError) as error:
        raise ConfigError(explain(error)) from error
    _check_together(config)
    return config


def _check_together(config: Config) -> None:
    """Refuse values that are allowed each, but not together."""
    crop, size, batch = config.augmentation.crop, config.dataset.image_size, config.trainer.batch_size
    if (config.trainer.pairs or config.augmentation.self_blended) and batch % 2:
        raise ConfigError(f"trainer.batch_size={batch}: where real and fake images are paired it should be even")
    if crop and crop > size:
        raise ConfigError(f"augmentation.crop={crop}: should be at most dataset.image_size={size}")
    if crop and isinstance(config.model, Cnn | Meso4):
        raise ConfigError(
            f"augmentation.crop={crop}: model={config.model.name} has a weight for each place in the picture and "
            "cannot learn from parts of it; choose a model that averages over the picture, like model=residual"
        )
    if isinstance(config.model, Residual) and len(config.model.filters) != len(config.model.blocks):
        blocks, filters = config.model.blocks, config.model.filters
        raise ConfigError(f"model.blocks={blocks}: should be as many numbers as model.filters={filters}")


def check_resume(config: Config, overrides: Sequence[str]) -> None:
    """Refuse other overrides beside `resume`, whose settings are those of the run that it continues.

    Raises:
        ConfigError: If there are any.
    """
    extra = [override for override in overrides if not override.startswith("resume=")]
    if config.resume and extra:
        raise ConfigError(f"resume takes its settings from the run it continues; remove {' '.join(extra)}")


def to_dict(config: Config) -> dict[str, Any]:
    """Return the configuration as nested plain dicts, lists and scalars."""
    return asdict(config)


def to_yaml(config: Config) -> str:
    """Return the configuration as YAML that `from_yaml` reads back."""
    return OmegaConf.to_yaml(OmegaConf.create(to_dict(config)))


def from_yaml(text: str) -> Config:
    """Read a configuration that `to_yaml` wrote.

    Args:
        text: YAML.

    Returns:
        The checked configuration.

    Raises:
        ConfigError: If it does not fit the schema of this version.
    """
    return validate(OmegaConf.create(text))


def flatten(config: Config) -> dict[str, Any]:
    """Return every value under its dotted key, like `{"optimizer.learning_rate": 0.001}`."""

    def walk(prefix: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            return {prefix: value}
        return {
            k: v for key, inner in value.items() for k, v in walk(f"{prefix}.{key}" if prefix else key, inner).items()
        }

    return walk("", to_dict(config))


def recorded(config: Config) -> dict[str, Any]:
    """Return the settings that are told of a run, as `flatten` does: of an ensemble, only those true of all members."""
    mixed = config.model.mixed if isinstance(config.model, Ensemble) else ()
    untold = {"resume", *mixed}
    return {k: v for k, v in flatten(config).items() if k not in untold and not k.startswith("sweep.")}


def result_hash(config: Config) -> str:
    """Return a hash of the settings that decide a run's result, or whether its model is registered.

    Left out is what only says where things lie, how a sweep is run or what is shown; what the images are, the data
    set's fingerprint says.
    """
    besides: tuple[str, ...] = ("resume", "sweep.", "tracking.experiment", "trainer.profile")
    besides += ("dataset.root", "dataset.cache_limit", "dataset.audit", "dataset.split_file")
    settings = {key: value for key, value in flatten(config).items() if not key.startswith(besides)}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def complete_ray(launcher: DictConfig) -> None:
    """Give a sweep's Ray what its launcher leaves open; what a person set stays.

    Without an address it is a Ray of the sweep's own on this machine. A job takes one core. Where a cluster is named,
    its workers are given this process's environment as far as it is MLflow's, Python's search path or this project's.

    Args:
        launcher: `hydra.launcher`, of the Ray plugin.
    """
    passed_on = {key: os.environ[key] for key in os.environ if key.startswith(("MLFLOW_", "DEEPFAKE_", "PYTHONPATH"))}
    if launcher.ray.init.get("address") in (None, "local"):
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # or Ray writes a token into the person's home
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # the lines of two jobs are alike, and are not one
        init: dict[str, Any] = {"address": "local", "include_dashboard": False}
    else:
        init = {
            "object_store_memory": None,
            "runtime_env": {"env_vars": passed_on},
        }  # the memory is the cluster's to set
    with flag_override(launcher, ["struct", "readonly"], False):
        for part, ours in {"init": init, "remote": {"num_cpus": 1, "max_calls": 1}}.items():
            given = {key: value for key, value in launcher.ray[part].items() if value is not None}
            launcher.ray[part] = ours | given


# ---------------------------------------------------------------------------------------------------------- errors


def is_expected(error: Exception) -> bool:
    """Say whether an error is about what a person did; of some overrides, Hydra raises a mere ValueError."""
    known = DeepfakeError | HydraException | OmegaConfBaseException | RecursionError
    return isinstance(error, known) or str(error).startswith(("Config group override", "Exceeds the limit"))


def explain(error: Exception) -> str:
    """Say in one line what is wrong with a configuration.

    Args:
        error: What Hydra, OmegaConf or the schema raised.

    Returns:
        One line that names the key, what was given and what is allowed.
    """
    if isinstance(error, RecursionError):
        return "an override is nested too deeply to be read"
    return one_line(_explain(error), 1000)


def _explain(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(_explain_invalid(detail) for detail in error.errors()[:3])
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, given = error.missing_cfg_file.removesuffix(".yaml").rpartition("/")
        missing = LAUNCHERS.get(given) if group == "hydra/launcher" else None
        choices = _options(given, list(error.options or []))
        return f"{group}={given}: {f'not installed: pip install {missing}' if missing else f'no such choice{choices}'}"
    text = str(error)
    key = str(getattr(error, "full_key", None) or "")
    if isinstance(error, MissingMandatoryValue):
        key = key or text.rsplit(" ", 1)[-1]
        return f"{key} is missing: give it a value, like {key}=/path/to/faces"
    if isinstance(error, InterpolationResolutionError):
        return f"{key}: {text.splitlines()[0]}"
    unknown = re.search(
        r"Could not override '([^']+)'|No match in the defaults list|Could not find match for '([^']+)'", text
    )
    if unknown or isinstance(error, ConfigAttributeError | ConfigKeyError):
        quoted = re.search(r"[Oo]verride '([^']+)'", text)
        return _unknown_key(key or (quoted[1] if quoted else text.splitlines()[0]))
    return " ".join(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("See https"))


def _explain_invalid(detail: Any) -> str:
    path = [str(part) for part in detail["loc"]]
    if len(path) > 1 and path[0] in ("dataset", "model", "optimizer") and path[1] in _tags(path[0]):
        del path[1]
    key = ".".join(path)
    if detail["type"] == "json_invalid":
        return f"a value cannot be read: {detail['msg']}"
    if detail["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return _unknown_key(key, tag=detail["loc"][1] if len(detail["loc"]) > 2 else None)
    if detail["type"].startswith("missing"):
        return f"{key} is missing"
    if detail["type"] == "union_tag_invalid":
        return f"{key}.name={detail['ctx']['tag']}: should be one of {detail['ctx']['expected_tags']}"
    message = detail["msg"].removeprefix("Input ").removeprefix("Value error, ")
    given = detail["input"]
    given = given.range if isinstance(given, Op) else given
    return f"{key}={'null' if given is None else one_line(given)}: {message}"


def _unknown_key(key: str, tag: str | None = None) -> str:
    """Name a key that is not in the schema, or not in the chosen file, and those that stand beside it."""
    parent, _, last = key.rpartition(".")
    classes = _classes(parent, tag)
    known = sorted({field.name for cls in classes for field in fields(cls)})
    owners = [name for cls in classes for name in _names(cls) if last in {field.name for field in fields(cls)}]
    if owners:
        return f"{key}: this choice has no such key; it belongs to {parent}={' or '.join(owners)}"
    if last in known and "." not in parent:
        return f"{key}: this choice of {parent} does not name it; add it, like +{key}=VALUE"
    if last in known:
        return f"{key}: {parent} is null here; set it whole, like +{parent}={{prob: 0.5, range: [low, high]}}"
    return f"{key}: no such key{_options(last, known, f' in {parent}' if parent else '')}"


def _options(given: str, known: list[str], where: str = "") -> str:
    close = difflib.get_close_matches(given, known, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"{hint}; there are{where}: {', '.join(known)}" if known else hint


def _classes(key: str, tag: str | None = None) -> list[Any]:
    """Return the dataclasses that may stand at a dotted key, or only the one that the choice `tag` names."""
    found: list[Any] = [Config]
    for part in key.split(".") if key else []:
        found = [cls for parent in found for cls in _dataclasses_in(get_type_hints(parent).get(part))]
    return [cls for cls in found if tag in _names(cls)] or found


def _dataclasses_in(hint: Any) -> list[Any]:
    return [hint] if is_dataclass(hint) else [cls for inner in get_args(hint) for cls in _dataclasses_in(inner)]


def _names(cls: Any) -> tuple[str, ...]:
    return get_args(get_type_hints(cls).get("name"))


def _tags(group: str) -> set[str]:
    return {name for cls in _classes(group) for name in _names(cls)}
