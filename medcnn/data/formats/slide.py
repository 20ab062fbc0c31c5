"""Large pictures, of which a part is read at a time: of slide scanners, TIFF by its blocks."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medcnn.data.image import Array, Image, Range
from medcnn.errors import UserError

NEEDS = "pip install 'medcnn[slides]'"
WHITE = 255  # where a scanner has seen nothing
NEAR = 1e-6  # relative difference up to which two resolutions are one


class Level(NamedTuple):
    """One resolution of a picture."""

    height: int
    width: int
    downsample: float  # pixels of the full resolution that one of it is


class Slide(AbstractContextManager["Slide"], ABC):
    """A picture of one or several resolutions, of which any part can be read.

    Attributes:
        levels: From the full resolution to the coarsest.
        channels: 1 (grey) or 3.
        spacing: µm a pixel at full resolution; None where the file doesn't say.
        value_range: Black and white, as are ``window``, ``modality`` and ``notes`` of
            `medcnn.data.image.Image`.
    """

    levels: list[Level]
    channels: int
    spacing: float | None = None
    value_range: Range | None = (0, 255)
    window: Range | None = None
    modality: str | None = None
    notes: tuple[str, ...] = ()

    @abstractmethod
    def read(self, level: int, row: int, column: int, height: int, width: int) -> Array:
        """Return (C, height, width), which lies within a level, in the level's own pixels."""

    def __exit__(self, *exception: object) -> None:
        """Close the file."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width at full resolution."""
        return self.levels[0].height, self.levels[0].width

    def level_of(self, downsample: float) -> int:
        """Return the coarsest level that isn't coarser than this, of which there is one."""
        fine = [k for k, one in enumerate(self.levels) if one.downsample <= downsample * (1 + NEAR)]
        return fine[-1]

    def region(self, corner: tuple[int, int], edge: tuple[int, int], downsample: float) -> Array:
        """Return a part (C, h, w) as the level `level_of` has it.

        Args:
            corner: Its first row and column, in pixels of the full resolution, as is `edge`.
            edge: Its height and width.
            downsample: The coarsest that it may be.
        """
        number = self.level_of(downsample)
        level = self.levels[number]
        size = [max(1, round(length / level.downsample)) for length in edge]
        size = [min(one, most) for one, most in zip(size, level[:2], strict=True)]
        first = [
            min(round(start / level.downsample), most - one)
            for start, one, most in zip(corner, size, level[:2], strict=True)
        ]
        return self.read(number, *first, *size)


class Picture(Slide):
    """A picture that was decoded as a whole."""

    def __init__(self, image: Image) -> None:
        if image.spatial_dims != 2:
            raise UserError(
                "is a volume: dataset.tiles cuts it into windows with dataset.spatial_dims=3"
            )
        self.values = image.values
        self.channels, height, width = image.values.shape
        self.levels = [Level(height, width, 1.0)]
        self.value_range, self.window = image.value_range, image.window
        self.modality, self.notes = image.modality, image.notes
        self.spacing = None if image.spacing is None else 1000 * image.spacing[0]

    def read(self, level: int, row: int, column: int, height: int, width: int) -> Array:
        """Return (C, height, width)."""
        return self.values[:, row : row + height, column : column + width]


class ScannedSlide(Slide):
    """A file of a slide scanner, by OpenSlide (A. Goode et al., "OpenSlide", 2013)."""

    channels = 3

    def __init__(self, path: Path) -> None:
        try:
            import openslide
        except (ImportError, OSError):  # or its library isn't found
            raise UserError(
                f"is a file of a slide scanner, which OpenSlide reads: {NEEDS}"
            ) from None
        try:
            self.file = openslide.OpenSlide(str(path))
        except openslide.OpenSlideError:
            raise UserError(
                "is damaged, or no file of a slide scanner that OpenSlide knows"
            ) from None
        sizes = zip(self.file.level_dimensions, self.file.level_downsamples, strict=True)
        self.levels = [Level(height, width, float(ratio)) for (width, height), ratio in sizes]
        told = self.file.properties.get(openslide.PROPERTY_NAME_MPP_X)
        self.spacing = float(told) if told else None

    def read(self, level: int, row: int, column: int, height: int, width: int) -> Array:
        """Return (3, height, width) uint8; white where nothing was scanned."""
        ratio = self.levels[level].downsample
        at = round(column * ratio), round(row * ratio)
        part = np.asarray(self.file.read_region(at, level, (width, height)))
        alpha = part[..., 3:].astype(np.uint16)
        colour = part[..., :3].astype(np.uint16)
        if (alpha < WHITE).any():
            colour = (colour * alpha + WHITE * (WHITE - alpha)) // WHITE
        return np.moveaxis(colour.astype(np.uint8), 2, 0)

    def __exit__(self, *exception: object) -> None:
        """Close the file."""
        self.file.close()
