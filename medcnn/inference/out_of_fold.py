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
from medcnn.data.batches import DataModule
from medcnn.data.open_data import own_range
from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.inference.logits import collect_logits
from medcnn.inference.seen import samples_of

UNSEEN = ("val", "test")  # splits of a member that its weights didn't learn from


def choose(
    trainer: pl.Trainer,
    members: Sequence[Classifier],
    checkpoints: Sequence[Path],
    samples: Samples,
    batch_size: int,
    rule: str,
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

    Returns:
        Plain values: ``operating_points``, by the name of a calibration (`CALIBRATIONS`) what
        `medcnn.classifier.chosen_on_validation.operating_point` gives with ``chosen_on`` and
        ``n``, None where none can be chosen or a member lacks that calibration.
    """
    objective = members[0].objective
    if objective.task not in ("binary", "multilabel"):
        return {"operating_points": {}}
    probs, counts = _means(trainer, members, checkpoints, samples, batch_size)
    there = counts > 0
    facts = {"chosen_on": "out-of-fold", "n": int(there.sum())}
    found: dict[str, dict[str, Any] | None] = dict.fromkeys(CALIBRATIONS)
    for how, each in probs.items():
        mean, labels = each[there] / counts[there, None], samples.labels[there]
        with suppress(UserError):  # a class that the rule needs is absent
            point = operating_point(objective, mean, labels, rule, samples.class_names)
            found[how] = point | facts
    return {"operating_points": found}


def _means(
    trainer: pl.Trainer,
    members: Sequence[Classifier],
    checkpoints: Sequence[Path],
    samples: Samples,
    batch_size: int,
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return sums (N, K) of each image's probabilities, by calibration, and their number (N,).

    A calibration that a member lacks is left out.
    """
    shape = (len(samples), len(samples.class_names))
    sums = {how: torch.zeros(shape).double() for how in CALIBRATIONS}
    counts = torch.zeros(len(samples)).double()
    for member, path in zip(members, checkpoints, strict=True):
        table = samples_of(path)
        assert table is not None
        split = table.drop_duplicates("image").set_index("image")["split"]
        own = samples.table["image"].astype(str).map(split)
        part = replace(samples, table=samples.table.assign(split=own.fillna("train")))
        own_range(part, member.card)
        splits = tuple(name for name in UNSEEN if (own == name).any())
        data = DataModule(part, batch_size, test_splits=splits)
        tested = collect_logits(trainer, member, data)
        rows = tested["row"]
        counts[rows] += 1
        for how in list(sums):
            try:
                member.calibrate(how)
            except UserError:
                del sums[how]
                continue
            sums[how][rows] += member.probs(tested["logits"].double()).double()
        member.calibrate("none")
    return sums, counts
