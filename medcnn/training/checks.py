"""Checks before a training, which spare its user to wait for what can't end well."""

import torch

from medcnn.classifier.card import task_of
from medcnn.data.batches import unit_images
from medcnn.data.row_batches import RowDataset
from medcnn.data.samples import Samples
from medcnn.data.sampling import sampling_of
from medcnn.data.studies import study_numbers
from medcnn.errors import UserError
from medcnn.evaluation.studies import check_aggregation, study_labels
from medcnn.jobs.settings.commands import Train
from medcnn.objective import Task, known
from medcnn.training.callbacks.batch_norm import IMAGES
from medcnn.training.module import TrainingModule


def check_samples(cfg: Train, samples: Samples) -> None:
    """Raise the UserError of labels or studies with which a training couldn't end.

    Args:
        cfg: Of the training.
        samples: Its data.
    """
    task = task_of(cfg, samples)
    check_studies(samples, cfg.aggregate, task)
    check_validation(samples)
    mixes = [way for way in ("mixup", "cutmix") if getattr(cfg.regularise, way)]
    if samples.features and mixes:
        raise UserError(
            f"regularise.{mixes[0]} mixes images, and their columns "
            f"({', '.join(samples.features)}) can't be mixed with them: take regularise=none"
        )
    if (sampling := sampling_of(cfg.sampler)) is not None:
        sampling.draws(samples, samples.rows("train"), task)


def counted_twice(cfg: Train) -> str | None:
    """Return a line where a training makes up for rare classes in several ways; else None."""
    draw, loss, weights = cfg.sampler.draw, cfg.loss.name, cfg.objective.class_weights
    instead = {}
    if draw != "natural":
        instead[f"sampler={draw}"] = "sampler=none"
    if loss == "logit_adjusted":
        instead[f"loss={loss}"] = "loss=auto"
    if weights is not None:
        instead[f"objective.class_weights={weights}"] = "objective.class_weights=null"
    if len(instead) < 2:
        return None
    return (
        f"{' and '.join(instead)} each make up for rare classes, which so count more than once: "
        f"keep one of them (without the others: {', '.join(instead.values())})"
    )


def check_validation(samples: Samples) -> None:
    """Raise UserError where no epoch could be chosen, as no label of the validation is known."""
    if not known(samples.labels[samples.rows("val")]).any():
        raise UserError(f"data set {samples.name}: no label of the val split is known")


def check_smallest_batch(
    module: TrainingModule, samples: Samples, batch_size: int, processes: int
) -> None:
    """Raise UserError if a training batch will have one image that the net can't take alone.

    A batch norm needs two values of a channel, and a map of 1×1 of one image has one.

    Args:
        module: In training mode, in which it stays, with what it has learnt.
        samples: With the training images.
        batch_size: Images of a batch, over all processes.
        processes: Their number.
    """
    rows = samples.rows("train")
    count = min(len(rows), IMAGES)  # by which the statistics of batch norms are taken
    smallest = min(min(batch_size, len(rows)) // processes, count // -(-count // batch_size))
    if smallest > 1:
        return
    batch = RowDataset(samples)[rows[:1]] | {"image": unit_images(samples, rows[:1])}
    before = {name: value.clone() for name, value in module.named_buffers()}
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            module.training_loss(batch)
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
        for name, value in module.named_buffers():
            value.copy_(before[name])


def check_studies(samples: Samples, aggregate: str, task: Task) -> None:
    """Raise the UserError now that `write_results` would raise after the training."""
    check_aggregation(aggregate, task, len(samples.class_names))
    if "study" in samples.table:
        studies, first = study_numbers(samples.table)
        study_labels(samples.labels.numpy(), studies, samples.table["study"].iloc[first].tolist())
