"""An image with its map and its decision, and the slice of it that is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medcnn.errors import UserError
from medcnn.report.maps.scale import Array, Scale, peak, span
from medcnn.report.maps.views import View, main_view
from medcnn.report.words import shorten

LARGEST = 1024  # pixels along the longer side of what is drawn of a picture


@dataclass
class GalleryItem:
    """An image, its map, and its decision."""

    image: Array  # (H, W) or (H, W, 3) in [0, 1]; of a volume (D, H, W) or (D, H, W, 3)
    map: Array  # raw, (H, W) or (D, H, W), high for important
    mask: Array | None  # of the map's shape, True on the lesion; None where it isn't known
    true: str  # name of the true class; in regression the true value
    predicted: str  # name of the decided class; in regression the predicted value
    probability: float | None  # of the predicted class, in [0, 1]; None in regression
    correct: bool | None  # None where nobody knows, and in regression
    name: str = ""  # its row and its file
    spacing: Sequence[float] | None = None  # of voxels along the map's axes; None: all the same
    # Of a volume the directions in which D, H and W run, as of `medcnn.data.image.ImageSpec`; None
    # where it doesn't say how it lies.
    orientation: str | None = None

    @property
    def wrong(self) -> bool:
        """True where the decision is known to be wrong."""
        return self.correct is not None and not self.correct

    @property
    def captions(self) -> tuple[str, str, str]:
        """Its `captions`, as far as a picture has room."""
        true, predicted = shorten(self.true, 44), shorten(self.predicted, 44)
        return captions(shorten_path(self.name), true, predicted, self.probability)

    @property
    def steps(self) -> Sequence[float]:
        """The spacing, of which only the ratios count."""
        return self.spacing or (1.0,) * self.map.ndim

    def check(self) -> None:
        """Raise UserError unless image, map, mask and spacing fit each other."""
        image, shape = np.shape(self.image), np.shape(self.map)
        if image not in (shape, (*shape, 3)) or len(shape) not in (2, 3):
            raise UserError(f"picture of a map: image {image} and map {shape} differ in shape")
        if self.mask is not None and self.mask.shape != shape:
            raise UserError(
                f"picture of a map: mask {self.mask.shape} and map {shape} differ in shape"
            )
        if len(self.steps) != len(shape) or not min(self.steps) > 0:
            raise UserError(f"spacing={list(self.steps)}: give {len(shape)} numbers above 0")


@dataclass
class Panel:
    """The part of an item that is drawn, in two dimensions, without the rest of a volume."""

    image: Array  # (H, W) or (H, W, 3) in [0, 1]
    map: Array  # (H, W), raw
    mask: Array | None
    bounds: tuple[float, float] | None  # raw values at the ends of the colours; None: empty
    note: str  # the slice of a volume; on a scale shared by all the map's own maximum
    aspect: float = 1.0  # height of a pixel by its width
    captions: Sequence[str] = ()
    wrong: bool = False

    @property
    def ratio(self) -> float:
        """Height of the picture by its width."""
        height, width = self.map.shape
        return self.aspect * height / width


def panel(item: GalleryItem, scale: Scale) -> Panel:
    """Return what is drawn of an item; of a volume the axial slice through the map's maximum."""
    item.check()
    bounds = span(item.map, scale)
    if item.map.ndim == 3:
        view = main_view(item.orientation)
        shown = slice_panel(item, view, peak(item.map, scale)[view.across], bounds)
    else:
        down, right = item.steps
        every = (slice(None, None, -(-max(item.map.shape) // LARGEST)),) * 2
        image, map_ = (np.asarray(one)[every].copy() for one in (item.image, item.map))
        mask = None if item.mask is None else item.mask[every].copy()
        shown = Panel(image, map_, mask, bounds, "", down / right, item.captions, item.wrong)
    if bounds is not None and not isinstance(scale, str):
        shown.note += f"{', ' if shown.note else ''}maximum {item.map.max():.3g}"
    return shown


def slice_panel(
    item: GalleryItem, view: View, index: int, bounds: tuple[float, float] | None
) -> Panel:
    """Return one slice of a volume."""
    image, map_ = view.cut(item.image, index).copy(), view.cut(item.map, index).copy()
    mask = None if item.mask is None else view.cut(item.mask, index).copy()
    note = f"slice {index + 1} of {item.map.shape[view.across]}"
    aspect = item.steps[view.rows] / item.steps[view.columns]
    return Panel(image, map_, mask, bounds, note, aspect, item.captions, item.wrong)


def captions(
    name: str, true: str, predicted: str, probability: float | None
) -> tuple[str, str, str]:
    """Return a line that names an image, one of the truth and one of the decision.

    >>> captions("row 7", "ill", "well", 0.834)
    ('row 7', 'true: ill', 'predicted: well 0.83')
    """
    share = "" if probability is None else f" {probability:.2f}"
    return name, f"true: {true}", f"predicted: {predicted}{share}"


def shorten_path(name: str, longest: int = 50) -> str:
    """Return a name, its middle cut out where it is too long: rows stand first, files last.

    >>> shorten_path("row 7 · sub-01/anat/T1w.nii.gz", 22)
    'row 7 · …at/T1w.nii.gz'
    """
    if len(name) <= longest:
        return name
    first, separator, _ = name.partition(" · ")
    start = f"{first}{separator}…" if separator else "…"
    return start + name[len(name) - max(longest - len(start), 1) :]
