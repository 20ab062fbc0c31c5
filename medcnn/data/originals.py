"""The files behind a sample table, of which pictures are drawn."""

from dataclasses import dataclass
from pathlib import Path

from medcnn.data.image import Crop, Image, ImageSpec
from medcnn.data.listing import SEPARATOR


@dataclass(frozen=True)
class Originals:
    """The files of a sample table's images; nothing of it is ever printed or written.

    Args:
        root: Folder of the files.
        images: (N,) file of each row, relative to `root`.
        masks: (N,) files of each row's lesions, with `SEPARATOR` between them; empty for none.
        slices: (N,) number of each row among its file's slices.
        spec: Of the files.
        crops: (N,) parts of them that the network sees; None for the whole image.
    """

    root: Path
    images: list[str]
    masks: list[str]
    slices: list[int]
    spec: ImageSpec
    crops: list[Crop | None]

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
