"""How important a classifier of studies finds each of their images."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from medcnn.cam import studies
from medcnn.cam.scores import middle_image
from medcnn.cam.studies import of_each_study
from medcnn.evidence.explainer import Batch, ClassifierMaps, Explainer
from medcnn.nets.chunks import in_chunks
from medcnn.nets.studies import Context
from medcnn.objective import known

ATTENTION, LEAVING_OUT, MIDDLE = "attention", "leaving_out", "middle"
"""What says how important an image is, beside the maximum of its map by a method."""


def sources_of(maps: ClassifierMaps, methods: Sequence[str]) -> list[str]:
    """Return what says of a net's images how important they are: of its own, and the maps."""
    return [*([ATTENTION] if maps.attends else []), LEAVING_OUT, *methods]


def importance(
    maps: ClassifierMaps,
    images: Tensor,
    targets: Tensor,
    source: str,
    context: Context,
    net: nn.Module | None = None,
) -> Tensor:
    """Return how important each image is of its study, (n,) float32, high for important.

    Args:
        maps: Of a net of studies.
        images: (n, C, *spatial) in 0 … 1.
        targets: (B,) the class of each study that is explained, which attention doesn't know.
        source: `ATTENTION`, `LEAVING_OUT`, `MIDDLE`, or a method of `medcnn.cam.maps.OF_STUDIES`.
        context: With their ``bag``.
        net: In place of the classifier's, such as one with random weights.
    """
    assert context is not None
    if source == MIDDLE:
        return middle_image(context["bag"])
    objective, net = maps.classifier.objective, net or maps.classifier.net
    if source not in (ATTENTION, LEAVING_OUT):
        return maps.explain(net, images, targets, source, context).flatten(1).amax(1)
    targets = targets.to(images.device)
    normal, chunk = maps.classifier.normalise(images), getattr(net, "chunk", None)
    with torch.no_grad(), maps.classifier.autocast():
        activations = in_chunks(net.features, normal, chunk)  # type: ignore[arg-type]
    if source == LEAVING_OUT:
        found = studies.leaving_out(
            net.head,  # type: ignore[arg-type]
            activations.float(),
            context,
            lambda logits: objective.score(logits, targets),
        )
        return found
    weights = studies.attention(net.head, activations.float(), context)
    assert weights is not None
    return weights


def images_table(
    explainer: Explainer, batch: Batch, targets: Tensor, methods: Sequence[str]
) -> pd.DataFrame:
    """Return a row an image of some studies, in their order: ``images.csv``.

    ``row`` is the image's in the sample table, ``study`` and ``image`` name it, ``view`` and
    ``slice`` are there where they are known; ``effect`` is that of `LEAVING_OUT` on the score of
    the class ``explained``; of each method there is the maximum of the image's map. ``lesion`` says
    whether the image shows one, where any is known.

    Args:
        explainer: Gives the maps.
        batch: The studies.
        targets: (B,) the class of each that is explained.
        methods: Of `medcnn.cam.METHODS`.
    """
    samples, rows, bag = explainer.samples, batch.image_rows.numpy(), batch.bag.cpu().numpy()
    given = samples.table.iloc[rows]
    columns = {
        name: given[name].to_numpy()
        for name in ("study", "image", "view", "slice")
        if name in given
    }
    table = pd.DataFrame({"row": rows, **columns})
    table["explained"] = np.asarray(samples.class_names)[targets.cpu().numpy()][bag]
    for source in sources_of(explainer, methods):
        values = importance(explainer, batch.images, targets, source, batch.context)
        table["effect" if source == LEAVING_OUT else source] = values.cpu().numpy()
    if batch.masks is not None:
        table["lesion"] = batch.masks.flatten(1).any(1).cpu().numpy()
    return table


def rows_with_some_lesion(explainer: Explainer, split: str, batch_size: int) -> Tensor:
    """Return the studies (n,) of a split in which some images show the lesion, and some don't.

    The label of the study is known, too.
    """
    samples = explainer.samples
    rows = samples.rows(split)
    if not explainer.knows_lesions:
        return rows[:0]
    if samples.task not in ("multilabel", "regression"):
        rows = rows[known(samples.labels[rows])]
    found = [_some(explainer, part) for part in rows.split(batch_size)]
    return rows[torch.cat(found)] if found else rows


def _some(explainer: Explainer, rows: Tensor) -> Tensor:
    """Return (B,) whether some images of each study show the lesion, and some don't."""
    studies_of = explainer.samples.studies
    assert studies_of is not None
    places, bag = studies_of.instances(rows)
    lesion = explainer.masks_of(places, explainer.truth(rows)[bag]).flatten(1).any(1)
    shares = [there.float().mean() for (there,) in of_each_study(bag, lesion)]
    return torch.tensor([0 < share < 1 for share in shares])
