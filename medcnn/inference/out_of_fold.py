"""Out-of-fold predictions: of each image by the members that were not trained on it."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from medcnn.classifier.chosen_on_validation import operating_point
from medcnn.classifier.classifier import CALIBRATIONS, Classifier
from medcnn.data.as_trained import as_trained
from medcnn.data.batches import DataModule
from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.inference.seen import samples_of
from medcnn.inference.tta import collect_looks

UNSEEN = ("val", "test")  # splits of a member that its weights didn't learn from


def choose(
    trainer: pl.Trainer,
    members: Sequence[Classifier],
    checkpoints: Sequence[Path],
    samples: Samples,
    batch_size: int,
    rule: str,
    axes: Sequence[int] = (),
) -> dict[str, Any]:
    """Choose the operating point of the mean of all members.

    A member's own threshold isn't the mean's, whose probabilities are less extreme. It is chosen on
    all images of the folds, each with the mean of the members that weren't trained on it: that is
    as near to the ensemble as predictions can be that are out of fold.

    Args:
        trainer: For passes without training.
        members: The classifiers of all folds.
        checkpoints: Their files, whose runs know which images they were trained on.
        samples: The data set of the training.
        batch_size: Images a step.
        rule: See `medcnn.classifier.chosen_on_validation.choose`.
        axes: Along which the training's test mirrors images; see `medcnn.inference.tta.collect`.

    Returns:
        Plain values: ``operating_points``, by the name of a calibration (`CALIBRATIONS`) what
        `medcnn.classifier.chosen_on_validation.operating_point` gives with ``chosen_on`` and
        ``n``, None where none can be chosen or a member lacks that calibration. With axes also
        ``mirrored``, the same for means over the mirror images, too.
    """
    if members[0].objective.task not in ("binary", "multilabel"):
        return {"operating_points": {}}
    pairs = zip(members, checkpoints, strict=True)
    tested = [_unseen(trainer, *pair, samples, batch_size, axes) for pair in pairs]
    choices = {"operating_points": _points(members, tested, samples, rule, 1)}
    if axes:
        choices["mirrored"] = _points(members, tested, samples, rule)
    return choices


def _unseen(
    trainer: pl.Trainer,
    member: Classifier,
    checkpoint: Path,
    samples: Samples,
    batch_size: int,
    axes: Sequence[int],
) -> dict[str, torch.Tensor]:
    """Return `collect_looks` of the images that a member wasn't trained on."""
    table = samples_of(checkpoint)
    assert table is not None
    split = table.drop_duplicates("image").set_index("image")["split"]
    own = samples.table["image"].astype(str).map(split)
    part = replace(samples, table=samples.table.assign(split=own.fillna("train")))
    as_trained(part, member.card)
    splits = tuple(name for name in UNSEEN if (own == name).any())
    data = DataModule(part, batch_size, test_splits=splits)
    return collect_looks(trainer, member, data, axes)


def _points(
    members: Sequence[Classifier],
    tested: Sequence[dict[str, torch.Tensor]],
    samples: Samples,
    rule: str,
    looks: int | None = None,
) -> dict[str, dict[str, Any] | None]:
    """Return the operating point of the mean of the first looks, or of all, by calibration."""
    counts = torch.zeros(len(samples)).double()
    for one in tested:
        counts[one["row"]] += 1
    there = counts > 0
    facts = {"chosen_on": "out-of-fold", "n": int(there.sum())}
    found: dict[str, dict[str, Any] | None] = dict.fromkeys(CALIBRATIONS)
    for how in CALIBRATIONS:
        with suppress(UserError):  # a member lacks it, or a class that the rule needs is absent
            sums = torch.zeros(len(samples), len(samples.class_names)).double()
            for member, one in zip(members, tested, strict=True):
                member.calibrate(how)
                views = [member.probs(logits.double()) for logits in one["looks"][:looks]]
                sums[one["row"]] += torch.stack(views).mean(0).double()
            mean, labels = sums[there] / counts[there, None], samples.labels[there]
            names = samples.class_names
            found[how] = operating_point(members[0].objective, mean, labels, rule, names) | facts
    for member in members:
        member.calibrate("none")
    return found
