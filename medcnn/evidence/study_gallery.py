"""The studies of a gallery: their images with maps, attention and the effect of leaving one out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcnn.cam import is_empty
from medcnn.data.studies import context_of_one
from medcnn.evidence.captions import caption, decision_words
from medcnn.evidence.explainer import Batch, ClassifierMaps, Explainer
from medcnn.evidence.studies import ATTENTION, LEAVING_OUT, importance, sources_of
from medcnn.nets.studies import Context
from medcnn.report.maps.item import GalleryItem
from medcnn.report.maps.study_sheet import StudyItem

MOST = 24  # images of a study that are shown


def bars_of(
    maps: ClassifierMaps, images: Tensor, targets: Tensor, context: Context
) -> dict[str, Tensor]:
    """Return the bars (n,) of each image: its attention, where the net has it, and its effect."""
    named = {ATTENTION: "attention", LEAVING_OUT: "effect"}
    return {
        named[source]: importance(maps, images, targets, source, context).cpu()
        for source in sources_of(maps, ())
    }


def shown_of(maps: Tensor, bars: Mapping[str, Tensor]) -> Tensor:
    """Return the places (m,) of at most `MOST` of a study's images, in order.

    They are spread evenly, but for those with the highest map, attention and effect, which take the
    place of the one nearest to them.
    """
    if len(maps) <= MOST:
        return torch.arange(len(maps))
    places = np.linspace(0, len(maps) - 1, MOST).round().astype(int)
    highest = [int(values.nan_to_num(-torch.inf).argmax()) for values in bars.values()]
    for best in dict.fromkeys([*highest, int(maps.flatten(1).amax(1).argmax())]):
        free = ~np.isin(places, highest)
        if best not in places:
            places[np.where(free, np.abs(places - best), len(maps)).argmin()] = best
    return torch.from_numpy(np.unique(places))


def study_item(
    images: Tensor,
    maps: Tensor,
    masks: Tensor | None,
    labels: Sequence[str],
    bars: Mapping[str, Tensor],
    words: Mapping[str, Any],
    orientation: str | None = None,
) -> StudyItem:
    """Return a study as the net received it.

    Args:
        images: (n, C, *spatial) in 0 … 1.
        maps: (n, *spatial), raw.
        masks: (n, *spatial) bool, or None.
        labels: Of each image.
        bars: (n,) each; see `bars_of`.
        words: Of a `GalleryItem`: name, true, predicted, probability, correct.
        orientation: Of volumes, see `GalleryItem`.
    """
    places = shown_of(maps, bars)
    items = [
        GalleryItem(
            image=_picture(images[k]),
            map=maps[k].cpu().numpy(),
            mask=None if masks is None else masks[k].cpu().numpy(),
            orientation=orientation if maps.ndim == 4 else None,
            **words,
        )
        for k in places.tolist()
    ]
    shown = {name: values[places].numpy() for name, values in bars.items()}
    numbers = places.tolist()
    return StudyItem(items, [labels[k] for k in numbers], shown, numbers, len(maps))


def _picture(image: Tensor) -> NDArray[Any]:
    """Return (C, *spatial) as (*spatial) or coloured (*spatial, 3); of other channels the first."""
    shown = image if len(image) == 3 else image[:1]
    return shown.movedim(0, -1).squeeze(-1).cpu().numpy()


def study_items_of(
    explainer: Explainer, batch: Batch, probs: Tensor, decided: Tensor, maps: Tensor
) -> Iterator[StudyItem]:
    """Yield the studies of a batch.

    Of probabilities (B, K), the class (B,) that each one's maps explain, and raw maps (n, *spatial)
    of all images.
    """
    samples, bag = explainer.samples, batch.bag.cpu()
    masks = explainer.lesions(batch, decided)
    bars = bars_of(explainer, batch.images, decided, batch.context)
    given = samples.table.iloc[batch.image_rows.numpy()]
    labels = samples.labels[batch.rows]
    for b, row in enumerate(batch.rows.tolist()):
        own = (bag == b).nonzero()[:, 0]
        words = caption(explainer.classifier, labels[b], probs[b].cpu(), int(decided[b]))
        study = samples.table["study"].iloc[row]
        words["name"] = f"row {row}" if pd.isna(study) else f"row {row} · study {study}"
        yield study_item(
            batch.images[own],
            maps[own],
            None if masks is None else masks[own],
            labels_of(given.iloc[own.numpy()]),
            {name: values[own] for name, values in bars.items()},
            words,
            samples.orientation,
        )


class StudyOfFile(NamedTuple):
    """The images of a file as one study, with what was decided on it."""

    item: StudyItem
    probs: Tensor  # (K,)
    decided: int  # the class that is explained
    maps: Tensor  # (n, *spatial), raw
    of_images: list[dict[str, Any]]  # of each image its attention, its effect, and an empty map


def study_of_file(maps: ClassifierMaps, images: Tensor, method: str, name: str) -> StudyOfFile:
    """Return the study that the images (n, C, *spatial) in 0 … 1 of a file are, by its name."""
    known = maps.classifier.card["studies"]
    context = {k: v.to(images.device) for k, v in context_of_one(len(images), known).items()}
    probs, decided, raw = maps.decisions(images, method, context)
    bars, raw = bars_of(maps, images, decided, context), raw.cpu()
    predicted, probability = decision_words(maps.classifier, probs[0].cpu(), int(decided[0]))
    words = {"true": "not known", "predicted": predicted, "correct": None, "name": name}
    unit = "slice {}" if known["ordered"] and len(images) > 1 else "image {}"
    labels = [unit.format(k) for k in range(len(images))]
    item = study_item(images, raw, None, labels, bars, words | {"probability": probability})
    columns = {key: values.tolist() for key, values in bars.items()}
    columns["empty"] = is_empty(raw).tolist()
    of_images = [
        dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
    ]
    return StudyOfFile(item, probs[0].cpu(), int(decided[0]), raw, of_images)


def labels_of(table: pd.DataFrame) -> list[str]:
    """Return a label for each image of a study: its view, its slice, or its number.

    >>> labels_of(pd.DataFrame({"view": ["CC", None]}))
    ['CC', 'image 2']
    """
    labels = [f"image {k + 1}" for k in range(len(table))]
    for column, words in (("view", "{}"), ("slice", "slice {:.0f}")):
        if column in table:
            known = table[column].notna().to_numpy()
            values = table[column].tolist()
            labels = [
                words.format(value) if there else label
                for value, there, label in zip(values, known, labels, strict=True)
            ]
            if known.any():
                return labels
    return labels
