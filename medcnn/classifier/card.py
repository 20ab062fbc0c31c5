"""The card of a checkpoint: what its users have to know, from a config and the data."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medcnn.classifier.classifier import Card, Classifier
from medcnn.classifier.normalise import statistics
from medcnn.data.columns.codes import codes_of
from medcnn.data.columns.encoding import Code
from medcnn.data.prepared.intensity import TRAINING
from medcnn.data.prepared.stacked import StackedImages
from medcnn.data.samples import Samples, Task
from medcnn.data.sampling import class_shares, sampling_of
from medcnn.errors import UserError
from medcnn.jobs.settings.commands import Train
from medcnn.jobs.settings.values import is_number
from medcnn.objective import (
    TAKE_PRIOR,
    balanced_weights,
    choose_loss,
    class_prior,
    effective_weights,
    known,
    target_statistics,
)

FUSION = "concat"  # of columns, where none is chosen
WEIGHTS = {"balanced": balanced_weights, "effective": effective_weights}


def make_card(cfg: Train, samples: Samples) -> Card:
    """Return the card of a checkpoint: plain values for its users, see `Classifier`."""
    task = task_of(cfg, samples)
    normalisation = statistics(samples, cfg.normalise)
    config, codes = cfg.plain(), codes_of(samples)
    config["model"] |= fusion_of(config["model"], codes)
    shared: Any = samples.intensity_range
    by_training = samples.spec is not None and samples.spec["intensity"] == TRAINING
    if by_training and isinstance(samples.images, StackedImages):
        shared = tuple(samples.images.ranges_of_channels(shared).tolist())  # a pair a channel
    return {
        "config": config,
        "task": task,
        "class_names": list(samples.class_names),
        "positive": samples.positive,
        "class_weights": class_weights(cfg.objective.class_weights, samples, task),
        **loss_prior(cfg, samples, task),
        "targets": targets(samples, task),
        "prior": prior(cfg, samples, task),
        "in_channels": samples.in_channels,
        "input_size": list(samples.input_size),
        "intensity_range": list(shared) if isinstance(shared, tuple) else None,
        "normalise": cfg.normalise,
        **{
            key: value.tolist() if value is not None and value.ndim == 1 else value
            for key, value in normalisation._asdict().items()
        },
        "image_spec": samples.spec,
        **({"features": codes} if codes else {}),
        **studies(samples),
    }


def fusion_of(model: Mapping[str, Any], codes: Sequence[Code]) -> dict[str, str]:
    """Return the fusion of columns that a model config leaves open; nothing where it doesn't.

    Raises:
        UserError: There are columns, and a net of the user's own, which can't take them.
    """
    if not codes or model.get("fusion") is not None:
        return {}
    if model.get("_target_") != "medcnn.nets.build":
        raise UserError(
            f"dataset.columns.features: model._target_={model.get('_target_')} takes images alone; "
            "leave it out, or take one of medcnn's networks"
        )
    return {"fusion": FUSION}


def studies(samples: Samples) -> dict[str, dict[str, Any]]:
    """Return ``studies``, of a net that takes the images of one together: what it knows of them.

    ``views``, the names that it knows, and ``ordered``, whether the images are slices.
    """
    if samples.studies is None:
        return {}
    known = samples.studies
    return {"studies": {"views": list(known.view_names), "ordered": known.together}}


def task_of(cfg: Train, samples: Samples) -> Task:
    """Return the task: that of ``objective.task``, else that of the data set.

    Raises:
        UserError: The data set's labels can't be those of that task, or the loss is for others.
    """
    task: Task = cfg.objective.task or samples.task
    if task != samples.task and {task, samples.task} & {"multilabel", "regression"}:
        raise UserError(f"objective={task} doesn't fit data set {samples.name} ({samples.task})")
    choose_loss(cfg.loss.plain(), task)
    return task


def class_weights(given: Any, samples: Samples, task: Task) -> list[float] | None:
    """Return the factors of the loss that ``objective.class_weights`` asks for; None for none."""
    check_class_weights(given)
    if given is None:
        return None
    if isinstance(given, str):
        labels = samples.labels[samples.rows("train")]
        return WEIGHTS[given](labels, task, len(samples.class_names))
    return [float(weight) for weight in given]


def check_class_weights(given: Any) -> None:
    """Raise UserError unless class weights are null, of `WEIGHTS`, or numbers above 0."""
    numbers = isinstance(given, list) and all(is_number(one) and one > 0 for one in given)
    if given not in (None, *WEIGHTS) and not numbers:
        raise UserError(
            f"objective.class_weights={given}: null, {', '.join(WEIGHTS)} or a list of numbers "
            "above 0"
        )


def prior(cfg: Train, samples: Samples, task: Task) -> dict[str, list[float]] | None:
    """Return the classes' shares in the training split and in what ``sampler`` draws of it.

    None where probabilities aren't to be put right for them.
    """
    sampling = sampling_of(cfg.sampler)
    if sampling is None or not cfg.sampler.correct_prior or task == "regression":
        return None
    rows, count = samples.rows("train"), len(samples.class_names)
    labels, drawn = samples.labels[rows], sampling.draws(samples, rows, task).expected
    draws = {"train": np.ones(len(rows)), "drawn": drawn}
    return {key: class_shares(labels, often, task, count) for key, often in draws.items()}


def loss_prior(cfg: Train, samples: Samples, task: Task) -> dict[str, list[float]]:
    """``loss_prior``, the share of each class in the training split, where a loss takes it.

    Of ``auc_margin`` it is the share in what ``sampler`` draws, as its means over batches are:
    with another one the saddle point is the same score for all images.
    """
    if cfg.loss.name not in TAKE_PRIOR:
        return {}
    rows, count = samples.rows("train"), len(samples.class_names)
    labels, sampling = samples.labels[rows], sampling_of(cfg.sampler)
    if sampling is None or cfg.loss.name != "auc_margin":
        return {"loss_prior": class_prior(labels, task, count)}
    shares = class_shares(labels, sampling.draws(samples, rows, task).expected, task, count)
    least = 0.5 / len(rows)  # as in `class_prior`
    return {"loss_prior": [min(max(share, least), 1 - least) for share in shares]}


def targets(samples: Samples, task: Task) -> dict[str, list[float]] | None:
    """Return mean and standard deviation of a regression's targets in training; else None.

    Raises:
        UserError: There is no known label to learn from.
    """
    labels = samples.labels[samples.rows("train")]
    if task == "regression":
        return target_statistics(labels, samples.class_names)
    if not known(labels).any():
        raise UserError(f"data set {samples.name}: no label of the training split is known")
    return None


def check_fits(classifier: Classifier, samples: Samples) -> None:
    """Raise UserError unless a data set has the channels and classes that a classifier knows."""
    card = classifier.card
    if list(samples.class_names) != card["class_names"]:
        raise UserError(
            f"dataset {samples.name} has the classes {', '.join(samples.class_names)}, but the "
            f"checkpoint was trained on {', '.join(card['class_names'])}"
        )
    got = (samples.in_channels, *samples.input_size)
    known = (card["in_channels"], *card["input_size"])
    if got != known:
        raise UserError(
            f"dataset {samples.name} has images of {'×'.join(map(str, got))} (channels first), but "
            f"the checkpoint was trained on {'×'.join(map(str, known))}"
        )
