"""The settings of each config group whose keys medcnn itself reads; conf/ says what they mean."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from medcnn.errors import UserError, check_whole_number
from medcnn.jobs.settings import values as v


class Settings(BaseModel):
    """A part of a config: it has these keys and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)

    def plain(self) -> dict[str, Any]:
        """Return dicts, lists and values alone."""
        return self.model_dump()


class Paths(Settings):
    """The folders that a job reads and writes."""

    data: v.Place
    runs: v.Place
    pseudonym_key: v.Place | None
    run: v.Place


class Cache(Settings):
    """The cache of prepared images."""

    folder: v.Place
    memory: v.Memory
    disk: v.Disk


class Shares(Settings):
    """The sizes of the splits, in any unit."""

    train: v.AboveZero
    val: v.AboveZero
    test: v.AboveZero


class Splits(Settings):
    """The assignment of samples to splits."""

    method: Literal["auto", "column", "patient", "site"]
    shares: Shares
    seed: v.Seed
    test_sites: Any  # one, or several in brackets


class Transfer(Settings):
    """The part of a net that is trained, from the weights it starts with."""

    mode: Literal["auto", "scratch", "head", "partial", "finetune"]
    small: v.AtLeast1
    head_lr: v.AboveZero
    first_lr: v.Share
    unfreeze: v.AtLeast0


class Objective(Settings):
    """The task, and the weights of the classes in its loss."""

    task: Literal["binary", "multiclass", "multilabel", "ordinal", "regression"] | None
    class_weights: Any


PARAMETERS: dict[str | None, tuple[str, ...]] = {  # of each loss: conf/loss/ has them all
    None: (),
    "cross_entropy": ("label_smoothing",),
    "focal": ("gamma",),
    "asymmetric": ("gamma_positive", "gamma_negative", "clip"),
    "hinge": (),
    "squared_hinge": (),
    "auc_margin": ("margin",),
    "logit_adjusted": ("tau",),
    "generalised_cross_entropy": ("q",),
    "corn": (),
    "coral": (),
    "cumulative": (),
    "mse": (),
    "l1": (),
    "huber": ("delta",),
    "quantile": ("levels",),
}


class Loss(Settings):
    """The loss, and the parameters that it has; `medcnn.objective.losses` has the equations."""

    name: Annotated[str | None, v.checked(v.check_choice, known=(*PARAMETERS,))]
    label_smoothing: v.Below1 | None = None
    gamma: v.NotNegative | None = None
    gamma_positive: v.NotNegative | None = None
    gamma_negative: v.NotNegative | None = None
    clip: v.Below1 | None = None
    margin: v.AboveZero | None = None
    tau: v.NotNegative | None = None
    q: v.Share | None = None
    delta: v.AboveZero | None = None
    levels: v.Levels | None = None

    @model_validator(mode="after")
    def _check_parameters(self) -> Self:
        """Refuse a loss without its parameters, or with those of another."""
        given = {key for key, value in self if value is not None} - {"name"}
        word = "auto" if self.name is None else self.name
        for key in PARAMETERS[self.name]:
            if key in self.model_fields_set and key not in given:
                raise UserError(f".{key}=null: loss={word} needs a value; leave it out for its own")
        if given != {*PARAMETERS[self.name]}:
            raise UserError(f".name={self.name}: write loss={word}, which sets its parameters, too")
        return self

    @model_serializer(mode="wrap")
    def _what_was_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content = dump(self)
        return {key: content[key] for key in content if key in self.model_fields_set}


class Diagnosis(Settings):
    """The checks of a training, beside those that refuse it."""

    at_start: bool
    every_n_steps: v.AtLeast0


class Plan(Settings):
    """A training that configures itself."""

    without: v.Places  # rules of `medcnn.planning.auto.rules`
    deadline: float | None = None  # of one training of a plan, in seconds since 1970

    @model_serializer(mode="wrap")
    def _without_none(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if value is not None}


class Regularise(Settings):
    """The penalties and limits of the weights, and the mixing of training images."""

    l1: v.NotNegative
    l2: v.NotNegative
    max_norm: v.Clip | None
    mixup: v.NotNegative
    cutmix: v.NotNegative


class Sampler(Settings):
    """How often images of each class, and of each patient, are drawn in training."""

    draw: Literal["natural", "balanced", "weights"]
    weights: Any  # `medcnn.data.sampling.sampling_of`
    per_patient: v.Multiple | None
    correct_prior: bool


class Trainer(Settings):
    """The options of a training; further ones are those of Lightning's Trainer."""

    model_config = ConfigDict(extra="allow")

    accelerator: v.Accelerator
    devices: Any  # a number, a list of GPUs, or auto: `medcnn.jobs.hardware.local_processes`
    num_nodes: v.AtLeast1 = 1
    launcher: Literal["ray"] | None = None
    strategy: Any
    precision: v.Precision
    channels_last: bool
    threads: v.AtLeast1 | None
    compile: bool = False
    deterministic: v.YesOrWarn
    max_epochs: v.AtLeast1
    gradient_clip_val: v.Clip | None
    accumulate_grad_batches: v.AtLeast1
    limit_train_batches: v.Batches
    limit_val_batches: v.Batches
    limit_test_batches: v.Batches
    profiler: Literal["simple", "advanced"] | None
    detect_anomaly: bool
    log_every_n_steps: v.AtLeast1
    requeue: bool


class Engine(Settings):
    """What runs the jobs of a sweep and the workers of a search, with the keys that it has."""

    name: Literal["local", "joblib", "slurm", "ray"]
    workers: v.AtLeast1 | None = None
    retries: v.AtLeast0 = 0
    cluster: Literal["slurm", "local", "debug"] | None = None
    partition: str | None = None
    time: v.Duration | None = None
    requeues: v.AtLeast0 = 0
    address: str | None = None
    cpus: v.AboveZero = 1
    gpus: v.NotNegative = 0
    memory: v.Disk | None = None
    options: v.Node = {}

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        if self.name == "slurm":
            check_whole_number(".cpus", self.cpus, 1)
            check_whole_number(".gpus", self.gpus, 0)
        return self

    @model_serializer(mode="wrap")
    def _what_was_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content = dump(self)
        return {key: content[key] for key in content if key in self.model_fields_set}


class Evaluation(Settings):
    """The figures of a test."""

    operating_point: Any  # a rule or a number: `medcnn.evaluation.operating_point.parse_rule`
    prevalence: v.Prevalence | None
    subgroups: list[str]
    least: v.AtLeast1
    resamples: v.AtLeast1


class Search(Settings):
    """A search of hyperparameters."""

    space: v.Node | None  # `medcnn.planning.search.space.read_space`
    trials: v.AtLeast1
    first: v.AtLeast1
    budget: v.Duration | None
    pruner: Literal["none", "asha", "hyperband"]
    keep: v.AtLeast1
    final: Literal["none", "folds", "seeds"]
    seeds: v.AtLeast1
    storage: v.Place | None
    stale: v.AboveZero
    sampler: Literal["random", "coarse_to_fine", "tpe", "cma_es"]

    @property
    def seconds(self) -> float | None:
        """The budget; None without one."""
        return None if self.budget is None else v.parse_duration("search.budget", self.budget)


class Cam(Settings):
    """The gallery of maps at the end of a training."""

    method: v.Method
    stage: Any
    n: v.AtLeast0
