"""The files behind a sample table, of which pictures are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcnn.data.image import Crop, Image, ImageSpec
from medcnn.data.listing import SEPARATOR
from medcnn.data.prepared.crop import crop_in
from medcnn.data.prepared.facts import Facts
from medcnn.data.prepared.tiled_file import of_tile, read_tile
from medcnn.data.prepared.tiles import grid_in


@dataclass(frozen=True)
class Originals:
    """The files of a sample table's images; nothing of it is ever printed or written.

    Args:
        root: Folder of the files.
        images: (N,) file of each row, relative to `root`.
        masks: (N,) files of each row's lesions, with `SEPARATOR` between them; empty for none.
        slices: (N,) number of each row among its file's slices or tiles.
        spec: Of the files.
        facts: (N,) of them, which tell what part of each the network sees.
        first: (N,) the channel of the network's input where each file begins: 0, but where an image
            has several files, of which this is the first one that is there.
    """

    root: Path
    images: "Sequence[str] | pd.Series[str]"
    masks: "Sequence[str] | pd.Series[str]"
    slices: Sequence[int] | NDArray[np.int64]
    spec: ImageSpec
    facts: Sequence[Facts]
    first: Sequence[int] | NDArray[np.int64] = ()

    def crop(self, row: int) -> Crop | None:
        """Return the part of a row's file that the network sees; None for the whole image."""
        return crop_in(self.facts[row])

    def shown(self, row: int) -> tuple[ImageSpec, int]:
        """Return how what `read` gives became the input, and which of its slices is meant."""
        if self.spec.tiles is not None:
            return of_tile(self.spec), 0
        return self.spec, int(self.slices[row])

    def read(self, row: int) -> tuple[Image, list[Image]]:
        """Read the image of a row and the masks of its lesions; raise UserError if one is gone.

        Of a picture or volume that is cut into tiles only the row's tile.
        """
        from medcnn.data.formats import decode

        names = [self.images[row], *self.masks[row].split(SEPARATOR)]
        paths = [self.root / name for name in names if name]
        if (grid := grid_in(self.facts[row])) is not None:
            number = int(self.slices[row])
            image, *masks = (read_tile(path, self.spec, grid, number) for path in paths)
        else:
            anyway, frame = self.spec.allow_missing_geometry, self.spec.frame
            image, *masks = (
                decode(path, allow_missing_geometry=anyway, frame=frame) for path in paths
            )
        return image, masks
