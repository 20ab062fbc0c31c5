"""Several looks at the same images: by members of an ensemble, mirrored, with dropout on."""

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch import Tensor

from medcnn.classifier.classifier import Classifier
from medcnn.data.as_trained import as_trained
from medcnn.data.batches import DataModule
from medcnn.errors import UserError
from medcnn.inference.logits import as_looks, collect_logits
from medcnn.inference.mc_dropout import dropout_layers
from medcnn.jobs.hardware import check_accelerator, resolve_precision
from medcnn.jobs.progress import Progress


def collect(
    trainer: pl.Trainer,
    members: Sequence[Classifier],
    data: DataModule,
    axes: Sequence[int],
    passes: int = 0,
) -> dict[str, Tensor]:
    """Pass data through all members, plain and mirrored, and average what they say.

    Args:
        trainer: For passes without training.
        members: Classifiers that fit the data and each other
            (`medcnn.classifier.ensemble.check_alike`).
        data: With its test splits.
        axes: To mirror along, from the end: all their combinations are looked at.
        passes: Passes of each with dropout on; 0 for one with dropout off.

    Returns:
        ``row`` (n,), ``label``, ``probs`` (n, K) the mean over the views; of one view ``logits``
        (n, outputs), of several ``views`` (V, n, K); and ``quantiles`` where `mean_quantiles` has
        some.
    """
    answers, tested = [], {}
    with Progress(
        "passes over the images", sum(len(looks(m, axes, passes)) for m in members)
    ) as bar:
        for member in members:
            as_trained(data.samples, member.card)
            for mirrored, number in looks(member, axes, passes):
                tested = collect_logits(trainer, member, data, mirrored, number)
                answers.append((member, tested["logits"]))
                bar.advance()
    return mean_answer(tested, answers)


def collect_looks(
    trainer: pl.Trainer, classifier: Classifier, data: DataModule, axes: Sequence[int]
) -> dict[str, Tensor]:
    """Return `medcnn.inference.logits.as_looks` of the plain images and the mirrored ones."""
    return as_looks([collect_logits(trainer, classifier, data, look) for look in subsets(axes)])


def mean_answer(
    tested: Mapping[str, Tensor], answers: Sequence[tuple[Classifier, Tensor]]
) -> dict[str, Tensor]:
    """Return what `collect` does, of looks that were taken.

    Args:
        tested: With ``row`` and ``label`` of the images.
        answers: Of each look the classifier and its logits (n, outputs).
    """
    views = torch.stack([member.probs(logits) for member, logits in answers])
    found = {"row": tested["row"], "label": tested["label"], "probs": views.mean(0)}
    if (quantiles := mean_quantiles(answers)) is not None:
        found["quantiles"] = quantiles
    return found | ({"logits": answers[0][1]} if len(answers) == 1 else {"views": views})


def mean_quantiles(answers: Sequence[tuple[Classifier, Tensor]]) -> Tensor | None:
    """Return the predicted quantiles (n, K, Q) of a regression, the mean over views.

    The quantiles of several distributions are averaged, not the distributions: so the mean of the
    medians is the median, and the interval is as wide as the views' are on average (S. B. Vincent,
    "The functions of the vibrissae in the behavior of the white rat", 1912; R. Ratcliff, "Group
    reaction time distributions and an analysis of distribution statistics", Psychological Bulletin
    1979).

    Args:
        answers: Of each view the classifier and its logits (n, outputs).

    Returns:
        None where no quantiles were learnt, or not the same ones by all.
    """
    levels = {tuple(member.objective.levels) for member, _ in answers}
    if len(levels) > 1 or () in levels:
        return None
    return torch.stack([m.objective.quantiles(logits.double()) for m, logits in answers]).mean(0)


def looks(
    classifier: Classifier, axes: Sequence[int], passes: int
) -> list[tuple[tuple[int, ...], int | None]]:
    """Return the axes to mirror along, and the number of the pass with dropout, of each look.

    A classifier without dropout looks as often as the others of an ensemble do, and says the same.
    """
    drops = passes > 0 and len(dropout_layers(classifier.net)) > 0
    numbers = range(passes) if drops else [None] * max(passes, 1)
    return [(mirrored, number) for mirrored in subsets(axes) for number in numbers]


def mirrored_axes(tta: str | None, trained: Mapping[str, Any]) -> list[int]:
    """Return the axes of test-time augmentation, from the end: those that a training mirrors.

    Args:
        tta: "none" for no axis, "flips", or None for what the training's own test did.
        trained: The settings of the training.

    Raises:
        UserError: "flips" where the training mirrors no axis.
    """
    if (tta or trained.get("tta")) != "flips":  # older checkpoints have no such key
        return []
    axes = list(dict.fromkeys(trained["augment"].get("flip") or []))
    if not axes:
        raise UserError(
            "tta=flips: the training mirrors no axis (augment.flip names none), so it can't help; "
            "take tta=none"
        )
    return axes


def mirrored_axes_of(tta: str | None, members: Iterable[Classifier]) -> list[int]:
    """Return `mirrored_axes` of the members of an ensemble.

    Raises:
        UserError: They don't look alike.
    """
    first, *others = [mirrored_axes(tta, member.card["config"]) for member in members]
    if any(set(axes) != set(first) for axes in others):
        raise UserError(
            "the members of the ensemble mirrored other axes in training (augment.flip), or tested "
            "with other looks (tta): add tta=none"
        )
    return first


def mirrored_lines(axes: Sequence[int]) -> list[str]:
    """Return what a reader of probabilities has to know of mirrored looks, in sentences."""
    if not axes:
        return []
    return ["The probabilities are means over the images and their mirror images (tta=flips)."]


def subsets(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Return all combinations, none of them first.

    >>> subsets([-1, -2])
    [(), (-1,), (-2,), (-1, -2)]
    """
    return [found for size in range(len(axes) + 1) for found in combinations(axes, size)]


def bare_trainer(accelerator: str, precision: str, gpu: int | None = None) -> pl.Trainer:
    """Return a Trainer for one pass over data, without files; `gpu` names one of several."""
    check_accelerator("accelerator", accelerator)
    try:
        return pl.Trainer(
            accelerator=accelerator,
            devices=1 if gpu is None else [gpu],
            precision=resolve_precision(precision, accelerator),  # type: ignore[arg-type]
            default_root_dir=os.devnull,  # no folder, so that there is no hpc_ckpt_*.ckpt in it
            plugins=[LightningEnvironment()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except UserError:
        raise
    except (pl.utilities.exceptions.MisconfigurationException, ValueError) as error:
        raise UserError(f"accelerator={accelerator}: {error}") from error
