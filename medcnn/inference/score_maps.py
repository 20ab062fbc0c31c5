"""Whole images to maps of scores: ``python -m medcnn.predict dense=true``."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medcnn.classifier.classifier import Classifier
from medcnn.classifier.ensemble import Ensemble
from medcnn.data.batches import unit_intensity
from medcnn.data.image import ImageSpec
from medcnn.data.image_files import stem
from medcnn.data.inputs import NAN, Input, read_input
from medcnn.data.path_list import PathList
from medcnn.errors import UserError, check_whole_number
from medcnn.inference.file_answers import Tell
from medcnn.inference.parts import Advance
from medcnn.inference.tables import decision_table
from medcnn.jobs.atomic_files import replacing
from medcnn.jobs.table_files import as_text
from medcnn.nets import Net, convolutionalise
from medcnn.nets.base import times
from medcnn.report.pictures.score_map import draw_score_map

ONE_SIZE = ("pixel_mean", "whiten")  # normalisations by statistics of each pixel


def maps_of(output: Path) -> Path:
    """Return the folder of the maps that belong to a table."""
    return output.parent / f"{output.stem}_maps"


class ScoreMaps:
    """Writes a map of scores of every image, as array and as picture.

    A network trained on images of one size looks at every window of that size, and a grid of
    probabilities comes out (`medcnn.nets.convolutionalise`). The row of an image has their mean
    over the grid (K. Simonyan, A. Zisserman, "Very deep convolutional networks", 2015, section
    3.2).

    Args:
        classifier: In evaluation mode.
        spec: How files became inputs in training; its size is replaced.
        output: The table's file; arrays (K, *grid), of S slices (S, K, *grid), and pictures go to
            ``<stem>_maps`` beside it.
        size: Side of the images, px; None for their own (at `ImageSpec.spacing`, where it is set).

    Raises:
        UserError: A size or a network that there is no map for.
    """

    def __init__(
        self, classifier: Classifier | Ensemble, spec: ImageSpec, output: Path, size: int | None
    ) -> None:
        self.classifier, self.spec, self.size = classifier, spec, size
        self.members: list[Any] = list(classifier.members)
        self.nets = [fully_convolutional(member) for member in self.members]
        self.folder = maps_of(output)
        if size is not None:
            check_whole_number("size", size, least=max(classifier.card["input_size"]))
            self.spec = replace(spec, size=(size,) * spec.spatial_dims)

    def table(
        self, paths: PathList, first: int, last: int, tell: Tell, advance: Advance
    ) -> pd.DataFrame:
        """Map the files first … last - 1; return a row for each, but for those that can't be used.

        These are told, and the rest goes on.
        """
        rows, means = [], []
        for number, path in enumerate(map(Path, paths.names(first, last)), first):
            try:
                row, mean = self._of_file(number, path)
                rows.append(row)
                means.append(mean)
            except UserError as error:
                tell(f"{path} {error}")
            advance(1)
        if not rows:
            return pd.DataFrame()
        names = self.classifier.class_names
        decisions = decision_table(self.classifier.objective, torch.stack(means), names)
        return pd.concat([pd.DataFrame(rows), decisions], axis=1)

    def _of_file(self, number: int, path: Path) -> tuple[dict[str, str], Tensor]:
        """Write the map of a file; return its row, and its mean probabilities (K,)."""
        card = self.classifier.card
        whole = read_input(path, self.spec, card["in_channels"], whole=self.size is None)
        least = tuple(card["input_size"])
        if any(side < own for side, own in zip(whole.stored.shape[2:], least, strict=True)):
            raise UserError(f"is smaller than the {times(least)} px that the network looks at")
        pairs = zip(self.members, self.nets, strict=True)
        probs = torch.stack([one_map(*pair, whole) for pair in pairs]).mean(0)  # (S, K, *grid)
        if not probs.isfinite().all():
            raise UserError(NAN)
        file = self.folder / f"{number:04d}_{stem(path)}.npy"
        with replacing(file) as place:
            np.save(place, (probs[0] if len(probs) == 1 else probs).numpy())
        draw(whole, probs, card, file.with_suffix(".png"))
        grid = "×".join(str(side) for side in probs.shape[2:])
        row = {"image": as_text(str(path)), "map": as_text(str(file)), "grid": grid}
        return row, probs.transpose(0, 1).flatten(1).mean(1)


def fully_convolutional(member: Classifier) -> Net:
    """Return the network of a classifier in its fully convolutional form."""
    kind = member.card["normalise"]
    if kind in ONE_SIZE:
        raise UserError(f"dense=true: normalise={kind}, as in training, fits images of one size")
    if not isinstance(member.net, Net):
        raise UserError("dense=true works with medcnn's own networks")
    return convolutionalise(member.net, member.card["input_size"]).eval()


@torch.inference_mode()
def one_map(member: Classifier, net: Net, whole: Input) -> Tensor:
    """Return probabilities (S, K, *grid) that one classifier gives the places of an image."""
    images = unit_intensity(whole.stored, tuple(whole.pair or member.card["intensity_range"]))
    with member.autocast():
        maps = net.features(member.normalise(images.to(member.device)))
    logits = net.head(maps.float()).cpu()
    places = logits.movedim(1, -1)
    logits = member.rescaled(member.prior(places.reshape(-1, places.shape[-1])))
    probs = member.objective.probs(logits)
    return probs.view(*places.shape[:-1], -1).movedim(-1, 1)


def draw(whole: Input, probs: Tensor, card: dict[str, Any], out: Path) -> None:
    """Draw a map; of several slices or a volume, the middle one."""
    image = unit_intensity(whole.stored.float(), whole_range(whole))[len(probs) // 2]
    grid = probs[len(probs) // 2]
    if image.ndim == 4:
        image, grid = image[:, image.shape[1] // 2], grid[:, grid.shape[1] // 2]
    names, shown = list(card["class_names"]), grid
    if card["task"] == "binary":
        names, shown = [names[card["positive"]]], grid[card["positive"]][None]
    own = card["input_size"][-2:]
    regression = card["task"] == "regression"
    draw_score_map(image.numpy(), shown.numpy(), names, own, out, shares=not regression)


def whole_range(whole: Input) -> tuple[float, float]:
    """Return the values that are drawn black and white."""
    low, high = whole.pair if whole.pair is not None else whole.stored.aminmax()
    return float(low), float(high)
