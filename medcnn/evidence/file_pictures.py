"""The pictures of the maps of one file: slices by themselves, planes of a volume."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from medcnn.classifier.classifier import Classifier
from medcnn.data.image import ImageSpec
from medcnn.evidence.captions import decision_words
from medcnn.report.maps.item import GalleryItem
from medcnn.report.maps.overlay import overlay
from medcnn.report.maps.volume import draw_mosaic, draw_planes


def items_of_file(
    classifier: Classifier,
    name: str,
    spec: ImageSpec,
    probs: Tensor,
    decided: Tensor,
    grids: Sequence[dict[str, Any]],
) -> list[GalleryItem]:
    """Return the pictures of one image, of slices of each."""
    items = []
    for k, label in enumerate(decided.tolist()):
        predicted, probability = decision_words(classifier, probs[k], label)
        words: dict[str, Any] = {"true": "not known", "predicted": predicted, "correct": None}
        part = f"{name}, slice {k}" if spec.slices is not None else name
        items.append(GalleryItem(name=part, **grids[k], **words, probability=probability))
    return items


def draw_items(items: Sequence[GalleryItem], base: Path, scale: Any) -> list[Path]:
    """Draw one image, each slice by itself, and of a volume planes and slices; gives the files."""
    digits = max(3, len(str(len(items) - 1)))  # the same for all, so that names sort as slices lie
    pictures = []
    for k, item in enumerate(items):
        several = f"-slice_{k:0{digits}}" if len(items) > 1 else ""
        pictures.append(picture := base.with_name(f"{base.name}{several}.png"))
        if item.map.ndim == 2:
            overlay(item, picture, scale=scale)
            continue
        draw_planes(item, picture, scale=scale)
        draw_mosaic(item, base.with_name(f"{base.name}-slices.png"), scale=scale)
    return pictures
