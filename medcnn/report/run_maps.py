"""Images with their class activation maps in layers, for a page that mixes them."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medcnn.report.cam_scale import colours
from medcnn.report.run_words import Record

MOST = 24  # maps of a kind
SIDE = 320  # pixels of the longer side, at most
SMALL = 100  # pixels, below which single ones are to be seen
METHODS = {"cam": "CAM", "gradcam": "Grad-CAM", "gradcampp": "Grad-CAM++"}


class Layers(NamedTuple):
    """An image, its map and the outline of its lesion.

    Args:
        row: Of the sample table.
        image: As a data URI.
        map: As a data URI, grey; empty where there is nothing to paint.
        outline: Path data on the grid of the mask; empty where there is no lesion.
        grid: Width and height of the mask.
        size: Width and height of the image.
        true: Name of the class.
        predicted: The decision, with its probability where there is one.
        wrong: Whether the decision is known to be wrong.
        label: All of it in words.
    """

    row: int
    image: str
    map: str
    outline: str
    grid: tuple[int, int]
    size: tuple[int, int]
    true: str
    predicted: str
    wrong: bool
    label: str

    @property
    def small(self) -> bool:
        """Whether its single pixels are to be seen."""
        return max(self.size) < SMALL


def read_layers(records: Sequence[Record], folder: Path, kind: str) -> list[Layers]:
    """The maps of a kind, at most 24.

    Args:
        records: Of ``layers.json``.
        folder: That their paths start from.
        kind: sample or error.
    """
    found: list[Layers] = []
    for record in records:
        if record.get("kind", "sample") == kind and len(found) < MOST:
            layers = _layers(record, folder)
            found += [layers] if layers else []
    return found


def _layers(record: Record, folder: Path) -> Layers | None:
    """None where a picture is missing."""
    image, map_ = (_open(folder, record.get(key)) for key in ("image", "map"))
    if image is None or "row" not in record:
        return None
    mask = _open(folder, record.get("mask"))
    lesion = None if mask is None else np.asarray(mask.convert("L")) >= 128
    grey = None if map_ is None or record.get("empty") else map_.convert("L")
    probability = record.get("probability")
    predicted = str(record.get("predicted", "?"))
    if probability is not None:
        predicted += f" {probability:.2f}"
    return Layers(
        row=int(record["row"]),
        image=_uri(image.convert("L" if image.mode in ("L", "1", "I;16") else "RGB")),
        map="" if grey is None else _uri(grey),
        outline="" if lesion is None else outline(lesion),
        grid=(1, 1) if mask is None else mask.size,
        size=image.size,
        true=str(record.get("true", "?")),
        predicted=predicted,
        wrong=record.get("correct") is False,
        label=_label(record, predicted, grey, lesion),
    )


def _open(folder: Path, name: Any) -> Image.Image | None:
    """A picture in the folder; None where there is none that can be read."""
    if not isinstance(name, str) or not (folder / name).resolve().is_relative_to(folder.resolve()):
        return None
    try:
        with Image.open(folder / name) as picture:
            picture.load()
            return picture
    except (OSError, ValueError):
        return None


def _uri(picture: Image.Image) -> str:
    """As PNG, shrunk where it is large, without whatever else its file said."""
    bare = Image.fromarray(np.asarray(picture))
    bare.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    bare.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _label(
    record: Record, predicted: str, grey: Image.Image | None, lesion: NDArray[np.bool_] | None
) -> str:
    method = str(record.get("method", ""))
    verdict = {True: ", right", False: ", wrong"}.get(record.get("correct"), "")  # type: ignore[arg-type]
    text = f"Row {record['row']}: true {record.get('true', '?')}, predicted {predicted}{verdict}."
    name = METHODS.get(method, method)
    if grey is None:
        return f"{text} The map is empty." if record.get("empty") else text
    values = np.asarray(grey, np.float64)
    text += f" {name} map over it, highest {_where(values)}".replace("  ", " ")
    if lesion is not None and lesion.any():
        inside = Image.fromarray(lesion).resize(grey.size, Image.Resampling.NEAREST)
        share = values[np.asarray(inside)].sum() / max(values.sum(), 1)
        text += f"; {100 * share:.0f} % of it on the lesion"
    return f"{text}."


def _where(values: NDArray[np.float64]) -> str:
    """Where the maximum of a map (H, W) lies, in words.

    >>> _where(np.eye(9)[::-1] * np.arange(9))
    'at the upper right'
    """
    y, x = (
        int(3 * k / side)
        for k, side in zip(
            np.unravel_index(values.argmax(), values.shape), values.shape, strict=True
        )
    )
    if (y, x) == (1, 1):
        return "in the middle"
    words = " ".join(filter(None, [("upper", "", "lower")[y], ("left", "", "right")[x]]))
    return f"at the {words}"


def outline(mask: NDArray[np.bool_]) -> str:
    """Path data along the edges of the pixels of a mask (H, W).

    >>> outline(np.array([[False, True]]))
    'M1 0H2M1 1H2M1 0V1M2 0V1'
    """
    padded = np.pad(mask.astype(np.int8), 1)
    level = _runs(np.diff(padded, axis=0)[:, 1:-1] != 0)
    upright = _runs((np.diff(padded, axis=1)[1:-1] != 0).T)
    across = "".join(f"M{start} {at}H{end}" for at, start, end in level)
    return across + "".join(f"M{at} {start}V{end}" for at, start, end in upright)


def _runs(edges: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n, 3) line, start and end of each run of true values along the second axis."""
    steps = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    starts, ends = np.argwhere(steps == 1), np.argwhere(steps == -1)
    return np.column_stack([starts, ends[:, 1]])


def colour_tables() -> dict[str, str]:
    """What the grey values 0 … 255 of a map become: red, green and blue in 0 … 1, as text."""
    table = colours(signed=False)(np.arange(256))
    return {
        channel: " ".join(f"{value:.3g}" for value in table[:, k])
        for k, channel in enumerate("RGB")
    }


def colour_bar() -> str:
    """The same colours over grey as a CSS gradient, as opaque as they are over an image."""
    table = colours(signed=False)(np.linspace(0, 255, 12).round().astype(int))
    stops = [
        f"rgb({100 * r:.0f}% {100 * g:.0f}% {100 * b:.0f}% / {100 * k / 11:.0f}%)"
        for k, (r, g, b, _) in enumerate(table)
    ]
    return f"linear-gradient(90deg, {', '.join(stops)})"
