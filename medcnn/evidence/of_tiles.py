"""What a classifier says of each tile of a slide, laid over the slide."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from medcnn.classifier.classifier import Classifier
from medcnn.data.batches import unit_intensity
from medcnn.data.formats import in_our_words, open_slide
from medcnn.data.image import Array, ImageSpec
from medcnn.data.inputs import NAN, Input, read_input
from medcnn.data.originals import Originals
from medcnn.data.prepared.tiles import TileGrid, grid_in, names_of
from medcnn.data.prepared.tissue import thumbnail
from medcnn.errors import UserError
from medcnn.inference.tables import decision_table
from medcnn.jobs.atomic_files import write_csv
from medcnn.report.pictures.tiles import Tiled, draw_tile_scores

TILES = "tiles"  # in the place of a method of maps


def explain_tiles(
    classifier: Classifier, path: Path, spec: ImageSpec, out: Path, batch_size: int
) -> list[dict[str, Any]]:
    """Write what a classifier says of each tile of a slide; return a row for the slide.

    ``<name>-tiles.csv`` has a row a tile, ``<name>-tiles.png`` the slide with the probability of
    the positive class, or of the class that is the most probable of all tiles together. A net that
    puts the tiles of a study together sees each alone here. The row has that class as
    ``explained``, and the mean over the tiles; ``medcnn.predict`` says what holds of the slide.

    Raises:
        UserError: The reason why the file can't be used, without its path.
    """
    found = read_input(path, spec, classifier.card["in_channels"])
    assert found.grid is not None
    probs = probs_of(classifier, found, batch_size)
    if not probs.isfinite().all():
        raise UserError(NAN)
    names = classifier.class_names
    table = pd.DataFrame(found.grid.corners, columns=names_of(found.grid.shape))
    said = decision_table(classifier.objective, probs, names, classifier.operating_point)
    write_csv(out.with_name(f"{out.name}-{TILES}.csv"), pd.concat([table, said], axis=1))
    mean = probs.mean(0)
    positive = classifier.objective.positive
    regression = classifier.objective.task == "regression"
    shown = int(mean.argmax()) if positive is None and not regression else positive or 0
    picture = out.with_name(f"{out.name}-{TILES}.png")
    draw_tile_scores(
        small_picture(path, found.grid, path.name, found.pair, spec.frame),
        probs[:, shown].numpy(),
        names[shown] if regression else f"probability of {names[shown]}",
        picture,
        scale=None if regression else (0.0, 1.0),
    )
    row = {"image": str(path), "method": TILES, "explained": names[shown]}
    told_as = "value" if regression else "probability"
    return [row | {told_as: float(mean[shown]), "empty": False, "picture": picture}]


def probs_of(classifier: Classifier, found: Input, batch_size: int) -> torch.Tensor:
    """Return probabilities (S, K) of the tiles of a file, each by itself."""
    pair = torch.tensor([found.pair or classifier.card["intensity_range"]]).float()
    said = []
    with torch.inference_mode(), classifier.autocast():
        for part in found.stored.split(batch_size):
            images = unit_intensity(part, pair.expand(len(part), 2))
            said.append(classifier.answer(images.to(classifier.device)).cpu())
    return torch.cat(said)


def small_picture(
    path: Path, grid: TileGrid, name: str, pair: Any = None, frame: int | str | None = None
) -> Tiled:
    """Return a slide as pictures show it; `pair` has the values that are black and white.

    Of a file with several pictures `frame` is the one that is meant.
    """
    with in_our_words(path), open_slide(path, frame) as slide:
        values, _ = thumbnail(slide)
    values = values.astype(np.float32)
    low, high = pair or (values.min(), values.max())
    unit: Array = ((values - low) / ((high - low) or 1)).clip(0, 1)
    picture = np.moveaxis(unit, 0, -1) if len(unit) == 3 else unit[0]
    return Tiled(name, picture, grid.shape, np.array(grid.corners), grid.edge)


def slides_of(
    originals: Originals, rows: Sequence[int], names: Sequence[str], pair: Any
) -> list[Tiled]:
    """Return the slides that rows of a sample table are tiles of, each once."""
    found = {}
    for row, name in zip(rows, names, strict=True):
        file = originals.images[row]
        grid = grid_in(originals.facts[row])
        if file not in found and grid is not None:
            path, frame = originals.root / file, originals.spec.frame
            found[file] = small_picture(path, grid, name, pair, frame)
    return list(found.values())


def note_of_tiles(spec: ImageSpec) -> str:
    """Return what there is instead of maps; raise UserError for windows of volumes."""
    if spec.spatial_dims == 3:
        raise UserError(
            "image=… of a network of windows (dataset.tiles): explain a split of a table instead"
        )
    return (
        "this network sees tiles: what it says of each is laid over the slide; maps within tiles "
        "are those of a split (dataset=csv)"
    )
