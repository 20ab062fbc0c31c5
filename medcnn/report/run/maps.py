"""Images with their class activation maps in layers, for a page that mixes them."""

import base64
import io
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medcnn.report.maps.item import captions
from medcnn.report.maps.scale import colours
from medcnn.report.words import Record

MOST = 24  # maps of a kind
SIDE = 320  # pixels of the longer side, at most
SMALL = 100  # pixels, below which single ones are to be seen
METHODS = {"cam": "CAM", "gradcam": "Grad-CAM", "gradcampp": "Grad-CAM++"}


class Pane(NamedTuple):
    """A picture with its map and the outline of its lesion; of a volume slices of one plane.

    The slices lie below each other, as high as one picture each.
    """

    name: str  # of the plane; empty for a picture
    image: str  # data URI
    map: str  # data URI, grey; empty where there is nothing to paint
    where: str  # the place of the map's maximum, in words; empty with it
    outlines: list[tuple[int, str]]  # place of each slice with a lesion, and path data on `grid`
    grid: tuple[int, int]  # width and height of a slice of the mask
    small: bool  # single pixels are to be seen
    ratio: float  # width by height, as it is shown
    width: float  # by that of the other planes
    slices: list[int]  # their numbers in the volume, from 0
    depth: int  # slices of the volume
    shown: int  # place in `slices` of the one shown first, through the map's maximum
    ends: tuple[str, str]  # the patient's sides at the top and at the left; empty if unknown
    up: bool  # the index of the first plane's slices grows upwards here
    colour: bool
    bare: bool  # an image alone, of which no map was made
    unit: str  # what the pictures below each other are: slices, or images of a study

    @property
    def note(self) -> str:
        """The plane and slice that are shown first."""
        return f"{self.name}, {self.unit} {self.slices[self.shown] + 1} of {self.depth}"

    @property
    def cut(self) -> float:
        """The share of the volume before that slice."""
        return (self.slices[self.shown] + 0.5) / self.depth


class Layers(NamedTuple):
    """An image with its map and its decision."""

    row: int  # of the sample table
    panes: list[Pane]  # one of a picture, of a volume one a plane
    captions: Sequence[str]  # lines: the name, the truth and the decision; of a label whose map
    wrong: bool  # known to be
    label: str  # all of it in words

    @property
    def mapped(self) -> bool:
        """True unless it is an image alone."""
        return not all(pane.bare for pane in self.panes)

    @property
    def outlined(self) -> bool:
        """True where the outline of a lesion is drawn."""
        return any(pane.outlines for pane in self.panes)


def read_layers(records: Sequence[Record], folder: Path, kind: str) -> list[Layers]:
    """Read the maps of a kind, at most `MOST`.

    Args:
        records: Of ``layers.json``; a ``folder`` in one is where its paths start.
        folder: The start of those.
        kind: sample, error or label.
    """
    of_kind = (record for record in records if record.get("kind", "sample") == kind)
    found = (layers for record in of_kind if (layers := _layers(record, folder)))
    return list(islice(found, MOST))


def _layers(record: Record, folder: Path) -> Layers | None:
    """Read an image and its map; None where a picture is missing."""
    parts, folder = record.get("planes") or [record], folder / record.get("folder", "")
    read = [_pane(part, folder, record) for part in parts]
    panes = [pane for pane in read if pane]
    if "row" not in record or len(panes) < len(parts):
        return None
    lines: Sequence[str] = captions(
        str(record.get("name") or f"row {record['row']}"),
        str(record.get("true", "?")),
        str(record.get("predicted", "?")),
        record.get("probability"),
    )
    decision, alone = lines[1:], len(panes) == len(panes[0].slices) == 1
    if record.get("kind") == "label":
        decision = [f"label: {record.get('true')}", f"suggested: {record.get('predicted')}"]
        lines = _of_map(record)
    return Layers(
        row=int(record["row"]),
        panes=panes,
        captions=lines,
        wrong=record.get("correct") is False,
        label=_label(record, decision, panes[0].where if alone else ""),
    )


def _of_map(record: Record) -> list[str]:
    """Return a line that says whose map it is, of a label that may be wrong."""
    name = record.get("explained")
    roles = {record.get("true"): " (label)", record.get("predicted"): " (suggested)"}
    return [f"map of {name}{roles.get(name, '')}"] if name else []


def _pane(part: Record, folder: Path, record: Record) -> Pane | None:
    """Read a pane of a record; None where the picture is missing."""
    empty, bare = bool(record.get("empty")), not (record.get("method") or part.get("map"))
    image, map_, mask = (_open(folder, part.get(key)) for key in ("image", "map", "mask"))
    if image is None:
        return None
    slices = [int(number) for number in part.get("slices") or [0]]
    grey = None if map_ is None or empty else map_.convert("L")
    image = image.convert("L" if image.mode in ("L", "1", "I;16") else "RGB")
    width, height = image.width, image.height // len(slices)
    lesion = None if mask is None else np.asarray(mask.convert("L")) >= 128
    lesions = [] if lesion is None else np.split(lesion, len(slices))
    return Pane(
        name=str(part["name"]) if "slices" in part else "",
        image=_uri(image, len(slices)),
        map="" if grey is None else _uri(grey, len(slices)),
        where="" if grey is None else _on_map(grey, lesion),
        outlines=[(k, outline(one)) for k, one in enumerate(lesions) if one.any()],
        grid=(1, 1) if mask is None else (mask.width, mask.height // len(slices)),
        small=max(width, height) < SMALL,
        ratio=float(part.get("ratio") or width / height),
        width=float(part.get("width") or 1),
        slices=slices,
        depth=int(part.get("depth") or 1),
        shown=int(part.get("shown") or 0),
        ends=tuple(part.get("ends") or ("", "")),
        up=bool(part.get("up")),
        colour=image.mode == "RGB" and not bare,
        bare=bare,
        unit=str(part.get("unit") or "slice"),
    )


def _open(folder: Path, name: Any) -> Image.Image | None:
    """Read a picture in the folder; None where there is none that can be read."""
    if not isinstance(name, str) or not (folder / name).resolve().is_relative_to(folder.resolve()):
        return None
    try:
        with Image.open(folder / name) as picture:
            picture.load()
            return picture
    except (OSError, ValueError):
        return None


def _uri(picture: Image.Image, slices: int) -> str:
    """Return the pixels alone as a data URI, shrunk where many, as JPEG where slices are many."""
    bare = Image.fromarray(np.asarray(picture))
    bare.thumbnail((SIDE, SIDE * slices), Image.Resampling.LANCZOS)
    stream, kind = io.BytesIO(), "jpeg" if slices > 1 and bare.width >= SMALL else "png"
    bare.save(stream, kind, optimize=True, **({"quality": 85} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64," + base64.b64encode(stream.getvalue()).decode()


def _label(record: Record, decision: Sequence[str], where: str) -> str:
    method = str(record.get("method", ""))
    verdict = {True: ", right", False: ", wrong"}.get(record.get("correct"), "")  # type: ignore[arg-type]
    words = ", ".join(line.replace(": ", " ", 1) for line in decision)
    text = f"Row {record['row']}: {words}{verdict}."
    name = METHODS.get(method, method)
    of = f" of {record['explained']}" if record.get("explained") else ""
    if not where:
        return f"{text} The map{of} is empty." if record.get("empty") else text
    return f"{text} {name} map{of} over it, {where}.".replace("  ", " ")


def _on_map(grey: Image.Image, lesion: NDArray[np.bool_] | None) -> str:
    values = np.asarray(grey, np.float64)
    text = f"highest {_where(values)}"
    if lesion is not None and lesion.any():
        inside = Image.fromarray(lesion).resize(grey.size, Image.Resampling.NEAREST)
        share = values[np.asarray(inside)].sum() / max(values.sum(), 1)
        text += f"; {100 * share:.0f} % of it on the lesion"
    return text


def _where(values: NDArray[np.float64]) -> str:
    """Return the place of the maximum of a map (H, W), in words.

    >>> _where(np.eye(9)[::-1] * np.arange(9))
    'at the upper right'
    """
    place = np.unravel_index(values.argmax(), values.shape)
    y, x = (int(3 * k / side) for k, side in zip(place, values.shape, strict=True))
    if (y, x) == (1, 1):
        return "in the middle"
    words = " ".join(filter(None, [("upper", "", "lower")[y], ("left", "", "right")[x]]))
    return f"at the {words}"


def outline(mask: NDArray[np.bool_]) -> str:
    """Return path data along the edges of the pixels of a mask (H, W).

    >>> outline(np.array([[False, True]]))
    'M1 0H2M1 1H2M1 0V1M2 0V1'
    """
    padded = np.pad(mask.astype(np.int8), 1)
    level = _runs(np.diff(padded, axis=0)[:, 1:-1] != 0)
    upright = _runs((np.diff(padded, axis=1)[1:-1] != 0).T)
    across = "".join(f"M{start} {at}H{end}" for at, start, end in level)
    return across + "".join(f"M{at} {start}V{end}" for at, start, end in upright)


def _runs(edges: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (n, 3) line, start and end of each run of true values along the second axis."""
    steps = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    starts, ends = np.argwhere(steps == 1), np.argwhere(steps == -1)
    return np.column_stack([starts, ends[:, 1]])


def colour_tables() -> dict[str, str]:
    """Return the colours of the grey values 0 … 255 of a map: channels in 0 … 1, as text."""
    table = colours(signed=False)(np.arange(256))
    return {
        channel: " ".join(f"{value:.3g}" for value in table[:, k])
        for k, channel in enumerate("RGB")
    }


def colour_bar() -> str:
    """Return the same colours over grey as a CSS gradient, as opaque as over an image."""
    table = colours(signed=False)(np.linspace(0, 255, 12).round().astype(int))
    stops = [
        f"rgb({100 * r:.0f}% {100 * g:.0f}% {100 * b:.0f}% / {100 * k / 11:.0f}%)"
        for k, (r, g, b, _) in enumerate(table)
    ]
    return f"linear-gradient(90deg, {', '.join(stops)})"
