"""From a config to the parts of a job: samples, card, classifier, data module."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from medcnn.classifier.classifier import Card, Classifier
from medcnn.classifier.freezing import FeatureCache, Freezing
from medcnn.classifier.normalise import statistics
from medcnn.data.batches import DataModule, unit_images
from medcnn.data.listing import Listing
from medcnn.data.memory import available_memory
from medcnn.data.samples import SPLITS, Samples, Task
from medcnn.errors import UserError
from medcnn.inference.tables import check_studies
from medcnn.jobs.instantiate import instantiate, plain
from medcnn.jobs.notes import visible
from medcnn.nets import Net
from medcnn.objective import Objective, balanced_weights, known, target_statistics
from medcnn.training.callbacks.batch_norm import IMAGES

# Keys of a dataset config that aren't the data set's own, but read by other groups
OF_TRAINER = ("name", "epochs", "net_width")


def make_source(dataset: Any, trust: Iterable[str] = ()) -> Samples | Listing:
    """What a ``dataset`` config describes: samples, or files that are still to be opened.

    They are called as its ``name`` says, unless that is the one of the kind, such as csv.

    Raises:
        UserError: A config that can't be called, or whose target returns neither.
    """
    whole = plain(dataset)
    node = {key: value for key, value in whole.items() if key not in OF_TRAINER}
    source = instantiate(node, "dataset", trust)
    if not isinstance(source, Samples | Listing):
        raise UserError(
            f"dataset._target_={node.get('_target_')} has to return medcnn.data.samples.Samples "
            f"or medcnn.data.listing.Listing, but returned {type(source).__name__}"
        )
    kind = (None, str(node.get("_target_")).rpartition(".")[2], node.get("flag"))
    name = whole.get("name")
    source.name = visible(source.name if name in kind else str(name))
    return source


def make_card(cfg: DictConfig, samples: Samples) -> Card:
    """What a checkpoint carries for its users: plain values only, see `Classifier`."""
    task = cfg.objective.task or samples.task
    if task != samples.task and {task, samples.task} & {"multilabel", "regression"}:
        raise UserError(f"objective={task} doesn't fit data set {samples.name} ({samples.task})")
    check_studies(samples, cfg.aggregate, task)
    check_validation(samples)
    normalisation = statistics(samples, cfg.normalise)
    shared = samples.intensity_range
    return {
        "config": plain(cfg),
        "task": task,
        "class_names": list(samples.class_names),
        "positive": samples.positive,
        "class_weights": class_weights(cfg.objective.class_weights, samples, task),
        "targets": targets(samples, task),
        "in_channels": samples.in_channels,
        "input_size": list(samples.input_size),
        "intensity_range": list(shared) if isinstance(shared, tuple) else None,
        "normalise": cfg.normalise,
        **{
            key: value.tolist() if value is not None and value.ndim == 1 else value
            for key, value in normalisation._asdict().items()
        },
        "image_spec": samples.spec,
    }


def class_weights(given: Any, samples: Samples, task: Task) -> list[float] | None:
    """The factors of the loss that ``objective.class_weights`` asks for; None for none.

    Raises:
        UserError: Neither null, balanced, nor numbers above 0.
    """
    given = plain(given)
    if given is None:
        return None
    if given == "balanced":
        labels = samples.labels[samples.rows("train")]
        return balanced_weights(labels, task, len(samples.class_names))
    if not isinstance(given, list) or not all(_above_zero(weight) for weight in given):
        raise UserError(
            f"objective.class_weights={given}: null, balanced or a list of numbers above 0"
        )
    return [float(weight) for weight in given]


def targets(samples: Samples, task: Task) -> dict[str, list[float]] | None:
    """Mean and standard deviation of a regression's targets in the training split; else None.

    Raises:
        UserError: There is no known label to learn from.
    """
    labels = samples.labels[samples.rows("train")]
    if task == "regression":
        return target_statistics(labels, samples.class_names)
    if not known(labels).any():
        raise UserError(f"data set {samples.name}: no label of the training split is known")
    return None


def check_validation(samples: Samples) -> None:
    """Raise UserError where no epoch could be chosen, as no label of the validation is known."""
    if not known(samples.labels[samples.rows("val")]).any():
        raise UserError(f"data set {samples.name}: no label of the val split is known")


def _above_zero(value: object) -> bool:
    return isinstance(value, int | float) and 0 < value < float("inf")


def make_classifier(
    card: Card, trust: Iterable[str] = (), *, fresh: bool = False, **training: Any
) -> Classifier:
    """The classifier that a card describes.

    Args:
        card: See `Classifier`.
        trust: Names that the user allows in its config.
        fresh: Load the weights that its config names to start from; else they are random.
        **training: Further arguments of `Classifier`, for its training.

    Raises:
        UserError: A model config that can't be called, or whose target gives no net.
    """
    config = card["config"]
    standard = card["targets"] or {"mean": None, "std": None}
    objective = Objective(
        card["task"],
        len(card["class_names"]),
        positive=card["positive"],
        class_weights=card["class_weights"],
        target_mean=standard["mean"],
        target_std=standard["std"],
    )
    node = dict(config["model"])
    if node.get("_target_") != "medcnn.nets.build":
        node.pop("name", None)  # of a net of the user's it names the run alone
    elif not fresh:
        node |= {"pretrained": False, "weights": None}
    net = instantiate(
        node,
        "model",
        trust,
        in_channels=card["in_channels"],
        num_classes=objective.num_outputs,
        spatial_dims=len(card["input_size"]),
        input_size=tuple(card["input_size"]),
    )
    if not isinstance(net, nn.Module):
        raise UserError(
            f"model._target_={config['model'].get('_target_')} gives no torch.nn.Module"
        )
    if isinstance(net, Net) and node.get("stem") == "auto":
        config["model"]["stem"] = net.stem  # what auto means may change, and with it the net
    channels_last = bool(config["trainer"]["channels_last"])
    return Classifier(net, objective, card, channels_last=channels_last, **training)


def make_training(cfg: DictConfig, samples: Samples, trust: Iterable[str]) -> dict[str, Any]:
    """What `Classifier` needs for its training: see there."""

    def optimizer(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        made = instantiate(cfg.optimizer, "optimizer", trust, params=groups)
        if not isinstance(made, torch.optim.Optimizer):
            raise UserError(f"optimizer._target_={cfg.optimizer.get('_target_')} is no optimiser")
        return made

    def scheduler(optimizer: torch.optim.Optimizer, total_steps: int) -> dict[str, Any] | None:
        options = {"optimizer": optimizer, "total_steps": total_steps}
        if cfg.scheduler.get("_target_") is None:
            return None
        schedule: dict[str, Any] = instantiate(cfg.scheduler, "scheduler", trust, **options)
        return schedule

    node = cfg.transfer
    chosen = Freezing(node.mode, float(node.first_lr), int(node.unfreeze), float(node.head_lr))
    cache = None
    augments = any(value for key, value in plain(cfg.augment).items() if key != "_target_")
    if chosen.trunk_is_fixed and not augments:
        images = partial(unit_images, samples)
        cache = FeatureCache(len(samples), available_memory() // 4, images, cfg.batch_size)
    return {"optimizer": optimizer, "scheduler": scheduler, "freezing": chosen, "cache": cache}


def make_data(cfg: DictConfig, samples: Samples, trust: Iterable[str]) -> DataModule:
    """The loaders of training, validation, and at the end validation and test.

    Raises:
        UserError: A split without samples, before anything is trained.
    """
    for split in SPLITS:
        samples.rows(split)
    augment = None
    if cfg.augment.get("_target_") is not None:
        augment = instantiate(cfg.augment, "augment", trust, seed=cfg.seed)
    return DataModule(
        samples,
        cfg.batch_size,
        seed=cfg.seed,
        augment=augment,
        overfit_batches=cfg.overfit_batches,
        test_splits=("val", "test"),
        limits={split: cfg.trainer[f"limit_{split}_batches"] for split in SPLITS},
    )


def check_smallest_batch(
    classifier: Classifier, samples: Samples, batch_size: int, processes: int
) -> None:
    """Raise UserError if a training batch will have one image that the net can't take alone.

    A batch norm needs two values of a channel, and a map of 1×1 of one image has one.

    Args:
        classifier: In training mode, in which it stays, with what it has learnt.
        samples: With the training images.
        batch_size: Images of a batch, over all processes.
        processes: Their number.
    """
    rows = samples.rows("train")
    count = min(len(rows), IMAGES)  # by which the statistics of batch norms are taken
    smallest = min(min(batch_size, len(rows)) // processes, count // -(-count // batch_size))
    if smallest > 1:
        return
    batch = {"image": unit_images(samples, rows[:1]), "label": samples.labels[rows[:1]]}
    before = {name: value.clone() for name, value in classifier.named_buffers()}
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            classifier.training_loss(batch | {"row": rows[:1]})
    except ValueError as error:
        why, way = f"batch_size={batch_size}", f"take at least {2 * processes + 1}"
        if len(rows) == 1:
            why, way = "the train split has one image", "give it more"
        raise UserError(
            f"{why}: a training batch of one image can't be batch-normalised, since the net makes "
            f"a map of one value of it; {way}, or larger images (dataset.size), or a stem that "
            "shrinks them less (model.stem)"
        ) from error
    finally:
        for name, value in classifier.named_buffers():
            value.copy_(before[name])


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
