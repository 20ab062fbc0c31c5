"""The place at which a training is no longer finite: the images, a stage, the weights, the loss."""

from typing import NamedTuple

import torch
from torch import Tensor

from medcnn.data.row_batches import context_of
from medcnn.nets.base import stages_of
from medcnn.training.module import TrainingModule

SLOWER = "training has diverged; lower optimizer.lr, or clip with trainer.gradient_clip_val=1"


class Place(NamedTuple):
    """The first thing that isn't finite on the way from a batch to its loss.

    Args:
        what: Its name, as ``the output of stage layer2``.
        rows: Of the sample table, whose part of it isn't finite; None for those of the step before;
            none of what all images have in common.
        way: What usually causes it, and what to do.
    """

    what: str
    rows: list[int] | None
    way: str


@torch.no_grad()
def first_not_finite(module: TrainingModule, batch: dict[str, Tensor]) -> Place:
    """Return where a batch's loss stops being finite; its stages are passed once more.

    Args:
        module: With the weights that gave the loss.
        batch: Images as the net gets them in training (none with a cache), labels, rows.
    """
    classifier, net = module.classifier, module.classifier.net
    broken = [name for name, values in net.named_parameters() if not values.isfinite().all()]
    if broken:  # a gradient that overflows goes on to all layers before the one that it began in
        return Place(f"the weights {broken[-1]}, since the step before", None, SLOWER)
    if module.cache is None:
        values = batch["image"]
    else:
        values = module.cache.images(batch.get("place", batch["row"]).cpu()).to(module.device)
    if bad := _rows(values, batch):
        return Place("the images", bad, "look at these files, and at augment")
    values = classifier.normalise(values)
    if bad := _rows(values, batch):
        return Place("the normalised images", bad, "look at these files, and at normalise")
    for name, stage in stages_of(net).items():
        values = stage(values)
        if bad := _rows(values, batch):
            return Place(f"the output of stage {name}", bad, SLOWER)
    logits = classifier.head(values, context_of(batch))
    if bad := _rows(logits, batch):
        return Place("the logits", bad, SLOWER)
    penalty = module.regularisation.penalty(net)
    if penalty is not None and not penalty.isfinite():
        return Place("the penalty of the weights", [], "lower regularise.l1 and regularise.l2")
    each = zip(logits.split(1), batch["label"].split(1), strict=True)
    losses = [classifier.objective.loss(*one) for one in each]
    bad = _rows(torch.stack(losses), batch) or batch["row"].tolist()
    return Place("the loss, of logits that are", bad, "look at the labels of these")


def _rows(values: Tensor, batch: dict[str, Tensor]) -> list[int]:
    """Return the rows of a batch of which values (N, …), or of all images (n, …), aren't finite."""
    finite = values.isfinite().flatten(1).all(1) if values.ndim > 1 else values.isfinite()
    rows = batch["row"] if len(finite) == len(batch["row"]) else batch["row"][batch["bag"]]
    return list(dict.fromkeys(rows.to(finite.device)[~finite].tolist()))
