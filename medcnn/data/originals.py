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


@dataclass(frozen=True)
class Originals:
    """The files of a sample table's images; nothing of it is ever printed or written.

    Args:
        root: Folder of the files.
        images: (N,) file of each row, relative to `root`.
        masks: (N,) files of each row's lesions, with `SEPARATOR` between them; empty for none.
        slices: (N,) number of each row among its file's slices.
        spec: Of the files.
        facts: (N,) of them, which tell what part of each the network sees.
    """

    root: Path
    images: "Sequence[str] | pd.Series[str]"
    masks: "Sequence[str] | pd.Series[str]"
    slices: Sequence[int] | NDArray[np.int64]
    spec: ImageSpec
    facts: Sequence[Facts]

    def crop(self, row: int) -> Crop | None:
        """Return the part of a row's file that the network sees; None for the whole image."""
        return crop_in(self.facts[row])

    def read(self, row: int) -> tuple[Image, list[Image]]:
        """Read the image of a row and the masks of its lesions; raise UserError if one is gone."""
        from medcnn.data.formats import decode

        anyway, frame = self.spec.allow_missing_geometry, self.spec.frame
        image, *masks = (
            decode(self.root / name, allow_missing_geometry=anyway, frame=frame)
            for name in [self.images[row], *self.masks[row].split(SEPARATOR)]
            if name
        )
        return image, masks
