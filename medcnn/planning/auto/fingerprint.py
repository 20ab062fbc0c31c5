"""The facts of a data set that a plan rests on; official test images are left out."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from medcnn.data.image import Crop, Image, ImageSpec
from medcnn.data.input_files import decode_as
from medcnn.data.listing import BOX, Listing, boxes_of
from medcnn.data.open_data import make_source
from medcnn.data.prepared.crop import crop_in, kept_share
from medcnn.data.prepared.geometry import own_size
from medcnn.data.prepared.one_file import prepare_image
from medcnn.data.samples import Samples
from medcnn.data.splits import SPLIT_NAMES
from medcnn.errors import UserError
from medcnn.jobs.private import revealed
from medcnn.jobs.settings.commands import Train
from medcnn.objective import Task

FEW = 5000  # images, below which all of them are worth to be trained on in turn
LOOKED_AT = 24  # files, whose sizes, spacings and modalities stand for all
LONGEST = 4.0  # seconds of that, from the second file on
SMALL_VOLUME = 64  # voxels an edge to which volumes are brought for it
FINE = 0.01  # mm to which lengths are told


@dataclass(frozen=True)
class Fingerprint:
    """The facts of a data set, without the images to test on.

    Args:
        name: Of the data set.
        kind: MedMNIST's name of the set, else the modality of most files, or empty.
        task: What the labels mean.
        outputs: Classes, labels or targets.
        images: To train and to validate on.
        patients: Of these.
        official: Images that a column ``split`` keeps for the test.
        rarest: Images of the rarest class, or with the rarest label; of a regression all.
        dims: 2 or 3.
        channels: Of an image.
        size: Of the images as they are stored; None where files are made into what is asked for.
        own: Median size of the files, px along each axis of the network's input; of stored images
            theirs.
        spacing: Median mm along each axis; None where unknown.
        extents: What is kept of a file along each axis of the network's input, in mm, by the name
            of a crop (none, body): the 5th and the 95th percentile. None where a file doesn't say.
        body: Median share of the image that the body fills with its surroundings, see
            `medcnn.data.prepared.crop`; None of stored images.
        lesion: Median of the longer sides of boxes, as a share of the image's shorter
            edge; None where unknown.
        intensities: Lowest and highest stored value that was seen.
        reading: Seconds that an image takes to be read.
        opening: Seconds that the source takes to be opened, without its files.
    """

    name: str
    kind: str
    task: Task
    outputs: int
    images: int
    patients: int
    official: int
    rarest: int
    dims: int
    channels: int
    size: tuple[int, ...] | None
    own: tuple[int, ...]
    spacing: tuple[float, ...] | None
    extents: dict[str, tuple[tuple[float, float], ...]] | None
    body: float | None
    lesion: float | None
    intensities: tuple[float, float]
    reading: float
    opening: float

    @property
    def few(self) -> bool:
        """Whether the images are few."""
        return self.images < FEW

    def lines(self) -> list[tuple[str, str]]:
        """Return the facts in words, by their names."""
        size = "×".join(map(str, self.own))
        what = "targets" if self.task == "regression" else "classes"
        facts = {
            "images": f"{self.images} of {self.patients} patients to train and validate on"
            + (f", {self.official} to test on" if self.official else ""),
            "task": f"{self.task}, {self.outputs} {what}",
            "rarest": f"{self.rarest} images",
            "size": f"{size} px, {self.channels} channel{'s' * (self.channels > 1)}",
            "spacing": self.spacing and " × ".join(f"{one:.3g}" for one in self.spacing) + " mm",
            "kind": self.kind,
            "lesions": self.lesion and f"{self.lesion:.0%} of the shorter edge",
            "values": "{:g} … {:g}".format(*self.intensities),
        }
        return [(name, str(text)) for name, text in facts.items() if text]


def fingerprint(cfg: Train, trust: list[str]) -> Fingerprint:
    """Return the facts of the data set that a config describes.

    Raises:
        UserError: Data that can't be used, or none to train on.
    """
    start = time.perf_counter()
    source = make_source(revealed(cfg).dataset, trust)
    opening = time.perf_counter() - start
    table, official = _known(source.table, cfg)
    if table.empty:
        raise UserError(f"data set {source.name}: there is nothing to train on")
    columns = [str(one) for one in table if one == "label" or str(one).startswith("label:")]
    facts: dict[str, Any] = {
        "name": source.name,
        "task": cfg.objective.task or source.task,
        "outputs": len(source.class_names),
        "images": len(table),
        "patients": int(table["patient"].nunique()),
        "official": official,
        "rarest": _rarest(table[columns], source.task),
        "opening": opening,
    }
    if isinstance(source, Samples):
        return Fingerprint(**facts, **_of_arrays(source, table, cfg.dataset))
    if source.spec.tiles is not None:
        raise UserError("plan=auto looks at whole images: with dataset.tiles choose for yourself")
    found, each = _of_files(source, table)
    slices = {"images": each * len(table), "official": each * official}
    return Fingerprint(**facts | slices, **found)


def _known(table: pd.DataFrame, cfg: Train) -> tuple[pd.DataFrame, int]:
    """Return the rows that aren't an official test, and how many are."""
    if "split" not in table or cfg.splits.method not in ("auto", "column"):
        return table, 0
    names = table["split"].fillna("").astype(str).str.strip().str.lower()
    test = names.map(lambda name: SPLIT_NAMES.get(name, name)) == "test"
    return table[~test], int(test.sum())


def _rarest(labels: pd.DataFrame, task: Task) -> int:
    if task == "regression":
        return int(labels.notna().any(axis=1).sum())
    if task == "multilabel":
        return int((labels == 1).sum().min())
    known = labels["label"][labels["label"] >= 0]
    return int(known.value_counts().min()) if len(known) else 0


def _of_arrays(source: Samples, table: pd.DataFrame, dataset: Mapping[str, Any]) -> dict[str, Any]:
    seen = source.images[torch.from_numpy(table.index.to_numpy()[:LOOKED_AT].copy())]
    return {
        "kind": str(dataset.get("flag") or ""),
        "dims": len(source.input_size),
        "channels": source.in_channels,
        "size": source.input_size,
        "own": source.input_size,
        "spacing": None,
        "extents": None,
        "body": None,
        "lesion": None,
        "intensities": (float(seen.min()), float(seen.max())),
        "reading": 0.0,
    }


def _of_files(source: Listing, table: pd.DataFrame) -> tuple[dict[str, Any], int]:
    """Return the facts of some files, evenly from the table, and how many images one holds."""
    start = time.perf_counter()
    facts = list(_looked_at(source, table))
    if not facts:
        count = min(LOOKED_AT, len(table))
        raise UserError(f"data set {source.name}: of {count} files none can be read")
    each = max(1, round(float(np.median([len(one["digests"]) for one in facts]))))
    spacings = [one["spacing"] for one in facts if one["spacing"] is not None]
    modalities = [one["modality"] for one in facts if one["modality"]]
    extents = [one["extents"] for one in facts if one["extents"] is not None]
    known = len(extents) == len(facts)
    extremes = np.array([one["extremes"] for one in facts])
    found = {
        "kind": max(modalities, key=modalities.count) if modalities else "",
        "dims": source.spec.spatial_dims,
        "channels": _channels(source.spec, max(one["channels"] for one in facts)),
        "size": None,
        "own": tuple(np.median([one["own"] for one in facts], axis=0).astype(int).tolist()),
        "spacing": tuple(np.median(spacings, axis=0).tolist()) if spacings else None,
        "extents": {k: _spread([one[k] for one in extents]) for k in extents[0]} if known else None,
        "body": float(np.median([one["body"] for one in facts])),
        "lesion": _lesion(source, table, {one["row"]: one["shape"] for one in facts}),
        "intensities": (float(extremes.min()), float(extremes.max())),
        "reading": (time.perf_counter() - start) / len(facts) / each,
    }
    return found, each


def _channels(spec: ImageSpec, of_a_file: int) -> int:
    """Return the channels of an input, whose files have so many unless the spec says."""
    counts = (spec.channels_of(0) or of_a_file,) * (len(spec.columns) or 1)
    layout = replace(spec, channels=counts).layout
    return sum(counts) if layout is None else layout.pictures + layout.flags


def _looked_at(source: Listing, table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Return facts of files, see `medcnn.data.prepared.one_file`, until there is no time left.

    With them are ``row``, the image's ``own`` size, the share of it that is its ``body``, and the
    ``extents`` of both in mm, None without a spacing. Volumes are brought to a small size, which is
    what a plan will choose.
    """
    at = np.linspace(0, len(table) - 1, min(LOOKED_AT, len(table))).round().astype(int)
    spec, start = replace(source.spec, crop="body", crop_margin=None), time.perf_counter()
    if spec.spatial_dims == 3:
        spec = replace(spec, size=tuple(min(side, SMALL_VOLUME) for side in spec.size))
    for row in np.unique(at).tolist():
        try:
            image = decode_as(source.root / str(table["image"].iloc[row]), spec)
            _, one = prepare_image(image, spec)
            own = own_size(image, replace(spec, spacing=None))
        except (UserError, OSError):
            continue  # training says which, and why
        extents = None
        if one["spacing"] is not None:
            extents = {"none": _in_mm(image, spec), "body": _in_mm(image, spec, crop_in(one))}
        yield one | {"row": row, "own": own, "body": kept_share(one), "extents": extents}
        if time.perf_counter() - start > LONGEST:
            return


def _in_mm(image: Image, spec: ImageSpec, crop: Crop | None = None) -> list[float]:
    """Return how long a crop of an image is along each axis of the network's input, mm."""
    fine = replace(spec, spacing=(FINE,) * spec.spatial_dims)
    return [FINE * steps for steps in own_size(image, fine, crop)]


def _spread(lengths: list[list[float]]) -> tuple[tuple[float, float], ...]:
    """Return the 5th and the 95th percentile along each axis."""
    low, high = np.percentile(lengths, (5, 95), axis=0).tolist()
    return tuple(zip(low, high, strict=True))


def _lesion(source: Listing, table: pd.DataFrame, shapes: dict[int, list[int]]) -> float | None:
    """Return the median of the lesions' longer sides, as a share of the image's shorter edge."""
    if BOX[0] not in table:
        return None
    shares = []
    for row, box in enumerate(boxes_of(table)):
        sides = box[:, 2:] - box[:, :2]  # height, width
        if np.isnan(sides).any(1).all():
            continue
        longest = float(np.nanmax(sides))
        if source.box_unit == "fraction":
            shares.append(longest)
        elif row in shapes:
            shares.append(longest / min(shapes[row]))
    return float(np.median(shares)) if shares else None
