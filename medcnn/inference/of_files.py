"""Inference of files: read, classified, and counted."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcnn.errors import UserError
from medcnn.jobs.terminal import say

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from medcnn.classifier.classifier import Classifier
    from medcnn.classifier.ensemble import Ensemble
    from medcnn.data.image import ImageSpec
    from medcnn.data.inputs import Input


def report(output: Path, done: int, asked: int) -> None:
    """Say how many images the output holds; raises UserError if some are missing."""
    print(f"{output}: {done} of {asked} images classified", flush=True)
    if done < asked:
        raise UserError(f"{asked - done} of {asked} images could not be read or classified")


def read_all(paths: list[Path], spec: "ImageSpec", channels: int) -> "dict[Path, Input]":
    """What the files hold that can be read; the others are named."""
    from medcnn.data.inputs import read_input

    items: dict[Path, Input] = {}
    for path in paths:
        try:
            items[path] = read_input(path, spec, channels)
            for line in items[path].notes:
                say(f"{path} {line}")
        except UserError as error:
            say(f"{path} {error}")
    return items


def classify_all(
    classifier: "Classifier | Ensemble", items: "list[Input]", batch_size: int, axes: list[int]
) -> list["np.ndarray"]:
    """Probabilities (S, K) of each item, the mean of all members' of all mirror images."""
    import torch

    from medcnn.classifier.ensemble import Ensemble
    from medcnn.inference.tta import subsets

    members = list(classifier.members) if isinstance(classifier, Ensemble) else [classifier]
    with classifier.autocast():
        views = [
            _probs(member, items, batch_size, mirrored)
            for member in members
            for mirrored in subsets(axes)
        ]
    probs = torch.stack(views).mean(0)
    return [part.numpy() for part in probs.split([len(item.stored) for item in items])]


def _probs(
    member: Any, items: "list[Input]", batch_size: int, mirrored: tuple[int, ...]
) -> "Tensor":
    """Probabilities (N, K) that one classifier gives the images of all items, as mirrored."""
    import torch

    from medcnn.data.batches import unit_intensity

    own = member.card["intensity_range"]  # of the images that it was trained on
    images = [
        unit_intensity(stored, torch.tensor([pair or own]).float().expand(len(stored), 2))
        for stored, pair, _ in items
    ]
    parts = torch.cat(images).flip(mirrored).split(batch_size)
    return torch.cat([member.answer(part).cpu() for part in parts])
