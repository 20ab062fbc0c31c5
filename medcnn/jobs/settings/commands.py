"""The settings of each command, in the order of its config file."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from omegaconf import OmegaConf
from pydantic import (
    AfterValidator,
    ConfigDict,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core import PydanticCustomError

from medcnn.errors import check_whole_number
from medcnn.jobs.settings import groups
from medcnn.jobs.settings import values as v
from medcnn.jobs.settings.groups import Settings

READING = ("frame", "slices", "allow_missing_geometry")  # how files are read; null: as in training


def _no_other_key(node: v.Node) -> v.Node:
    """Refuse options of a data set where none is named."""
    for key in node:
        if "_target_" not in node and key not in READING:
            raise PydanticCustomError("no_such_key", "{key}", {"key": key})
    return node


Reading = Annotated[v.Node, AfterValidator(_no_other_key)]  # other data, or how files are read


class Command(Settings):
    """All settings of a command; they are written in the order in which they were given."""

    _order: list[str] = PrivateAttr(default_factory=list)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_order(cls, given: Mapping[str, Any], make: ModelWrapValidatorHandler[Self]) -> Self:
        made = make(given)
        made._order = list(given)
        return made

    def plain(self) -> dict[str, Any]:
        """Return dicts, lists and values alone, as config.yaml and checkpoints hold them."""
        content = self.model_dump()
        return {key: content[key] for key in self._order}

    def yaml(self) -> str:
        """Return the text of a config.yaml."""
        return OmegaConf.to_yaml(OmegaConf.create(self.plain()))


class OpenData(Command):
    """The settings of `medcnn.data.open_data.open_data`; splits None for those of the files."""

    folds: v.Folds | None
    fold: Any  # a number, or all of a training
    on_error: v.OnError
    near_duplicates: bool
    strict: bool
    pseudonymise: bool
    dataset: v.Node
    splits: groups.Splits | None
    cache: groups.Cache
    paths: groups.Paths

    @field_validator("fold")
    @classmethod
    def _check_fold(cls, fold: Any, info: ValidationInfo) -> Any:
        if fold not in (None, "all") and info.data.get("folds"):
            check_whole_number("", fold, 0, info.data["folds"] - 1)
        return fold


class Train(OpenData):
    """``python -m medcnn.train``."""

    seed: v.Seed
    budget: v.Budget
    plan: groups.Plan | None = None
    folds: v.Folds
    folds_at_once: v.AtLeast1
    normalise: v.Normalisation
    aggregate: v.Aggregation
    tta: v.AugmentedTest
    shuffle_labels: bool
    perf: Literal["auto"] | None = None
    batch_size: v.AtLeast1
    overfit_batches: v.AtLeast0
    resume: v.Place | None
    overwrite: bool
    spreadsheet: bool
    trust: Any
    splits: groups.Splits
    model: v.Node
    transfer: groups.Transfer
    objective: groups.Objective
    sampler: groups.Sampler
    loss: groups.Loss
    augment: v.Node
    regularise: groups.Regularise
    optimizer: v.Node
    scheduler: v.Node
    average: v.Node
    trainer: groups.Trainer
    engine: groups.Engine
    diagnosis: groups.Diagnosis
    callbacks: v.Node
    logger: v.Node
    evaluation: groups.Evaluation
    cam: groups.Cam


class Diagnose(Train):
    """``python -m medcnn.diagnose``."""

    output: v.Place


class Plan(Train):
    """``python -m medcnn.plan``."""

    output: v.Place


class Data(OpenData):
    """``python -m medcnn.data``."""

    seed: v.Seed
    n: Annotated[int, v.checked(check_whole_number, least=1, most=500)]
    output: v.Place
    spreadsheet: bool
    trust: Any
    augment: v.Node


class Tested(Command):
    """The data that a checkpoint is tested on; null: as in training."""

    dataset: Reading | None = None
    cache: groups.Cache
    paths: groups.Paths
    split: v.Split
    on_error: v.OnError | None
    pseudonymise: bool | None


class Evaluate(Tested):
    """``python -m medcnn.evaluate``."""

    evaluation: groups.Evaluation
    checkpoint: v.Place | None
    ensemble: v.Places
    tta: v.AugmentedTest | None
    mc_dropout: v.AtLeast0
    calibration: v.Calibration
    aggregate: v.Aggregation | None
    batch_size: v.AtLeast1 | None
    precision: v.Precision | None
    accelerator: v.Accelerator
    threads: v.AtLeast1 | None
    processes: v.AtLeast1
    overwrite: bool
    spreadsheet: bool
    trust: Any


class OfficialTest(Tested):
    """The test of an ensemble of folds on images that are in none: the training's other settings.

    They are written along, and not looked at again.
    """

    model_config = ConfigDict(extra="allow")

    evaluation: groups.Evaluation
    aggregate: v.Aggregation
    calibration: None = None


class Explain(Tested):
    """``python -m medcnn.explain``."""

    checkpoint: v.Place
    image: v.Place | None
    methods: Annotated[list[str] | Literal["all"], v.several(get_args(v.Method))]
    stage: Any
    smooth: v.AtLeast0
    n: v.AtLeast0
    scale: Any
    scores: Annotated[list[str] | Literal["all"], v.several(get_args(v.ScoreGroup))]
    limit: v.AtLeast1 | None
    sample: v.AtLeast1
    seeds: v.Places
    random_labels: v.Place | None
    output: v.Place | None
    batch_size: v.AtLeast1 | None
    accelerator: v.Accelerator
    processes: v.AtLeast1
    overwrite: bool
    trust: Any


class Predict(Command):
    """``python -m medcnn.predict``."""

    checkpoint: v.Place | None
    ensemble: v.Places
    tta: v.AugmentedTest | None
    mc_dropout: v.AtLeast0
    images: v.Place | None
    packed: bool
    output: v.Place
    calibration: v.Calibration
    dense: bool
    size: v.AtLeast1 | None
    dataset: Reading
    cache: groups.Cache
    paths: groups.Paths
    batch_size: v.AtLeast1 | None
    accelerator: v.Accelerator
    processes: v.AtLeast1
    overwrite: bool
    spreadsheet: bool
    trust: Any


class Features(Command):
    """``python -m medcnn.features``."""

    checkpoint: v.Place
    image: v.Place
    stage: Any
    channels: Annotated[int, v.checked(check_whole_number, least=1, most=32)]
    output: v.Place | None
    dataset: Reading
    accelerator: v.Accelerator
    trust: Any


class Search(Train):
    """``python -m medcnn.search``."""

    output: v.Place
    search: groups.Search

    def training(self) -> Train:
        """Return the settings of the training alone."""
        own = {key: value for key, value in self.plain().items() if key in Train.model_fields}
        return Train.model_validate(own)


class Report(Command):
    """``python -m medcnn.report``."""

    runs: v.Places
    output: v.Place | None
