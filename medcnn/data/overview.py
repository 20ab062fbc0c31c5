"""An overview of a data set: counts, facts of its images, and some samples."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch

from medcnn.data.batches import unit_images
from medcnn.data.checks.dataset import DataSet
from medcnn.data.columns.codes import codes_of
from medcnn.data.columns.encoding import described
from medcnn.data.prepared.crop import crop_in, kept_share
from medcnn.data.prepared.facts import FactTable
from medcnn.data.samples import ALL_SPLITS, HOLDOUT, Samples
from medcnn.objective import UNKNOWN

NO_LABEL = "label unknown"
BY = ("site", "sex")  # columns that are counted beside the classes
VALUES = 4096  # of each image that the histogram counts
MOST = 500  # images in the histogram, and on the sheet, whose file can't be higher


def count(samples: Samples) -> pd.DataFrame:
    """Count images, studies, patients and samples of each class in each split."""
    table = samples.table
    names = [split for split in ALL_SPLITS if split != HOLDOUT or (table["split"] == HOLDOUT).any()]
    parts = {split: table[table["split"] == split] for split in names} | {"all": table}
    counts = {name: _count(samples, part) for name, part in parts.items()}
    table = pd.DataFrame(counts).fillna(0).astype(int)
    return table[(table.index != NO_LABEL) | (table["all"] > 0)]


def _count(samples: Samples, part: pd.DataFrame) -> dict[Any, int]:
    numbers: dict[Any, int] = {"images": len(part), "patients": part["patient"].nunique()}
    if "study" in part:
        numbers["studies"] = part["study"].nunique()
    names, labels = list(samples.class_names), part[samples.label_columns]
    if samples.task == "regression":
        numbers |= labels.notna().sum().set_axis(names).add_suffix(" known").to_dict()
    elif samples.task == "multilabel":
        unknown = (labels == UNKNOWN).sum().set_axis(names).add_suffix(" unknown")
        numbers |= (labels == 1).sum().set_axis(names).to_dict() | unknown[unknown > 0].to_dict()
    else:
        classes = labels["label"].value_counts()
        numbers |= {name: classes.get(k, 0) for k, name in enumerate(names)}
        numbers[NO_LABEL] = classes.get(UNKNOWN, 0)
    for column in BY:
        if column in part:
            numbers |= part[column].value_counts().add_prefix(f"{column} ").to_dict()
    return numbers


def describe(data: DataSet) -> dict[str, Any]:
    """Return facts of the images, as lines of text by their names."""
    samples = data.samples
    size = "×".join(map(str, (samples.in_channels, *samples.input_size)))
    facts: dict[str, Any] = {"network input": f"{size} (channels first)"}
    files = data.facts.take(np.flatnonzero(np.asarray(data.slices) == 0))
    if data.columns:
        facts |= _of_columns(data, len(files))
    elif files:
        facts |= _of_files(files)
    if samples.spec is not None and samples.spec["crop"] != "none":
        facts[f"cut to the {samples.spec['crop']}"] = _cut(files)
    facts |= _ranges(samples)
    if samples.features:
        facts["columns"] = described(codes_of(samples))
    if "age" in samples.table:
        age = pd.to_numeric(samples.table["age"], errors="coerce").dropna()
        if len(age):
            facts["age"] = f"{age.min():g} … {age.max():g}, median {age.median():g}"
    if samples.masks is not None:
        parts = torch.arange(len(samples)).split(64)
        known = sum(int(samples.masks[rows].flatten(1).any(1).sum()) for rows in parts)
        facts["images with a lesion that is marked"] = str(known)
    return facts


def _of_columns(data: DataSet, count: int) -> dict[str, str]:
    """Return what the files of each column have in common, of `count` images."""
    facts: dict[str, str] = {}
    for name, files in data.columns.items():
        if len(files):
            facts |= {f"{name}: {key}": value for key, value in _of_files(files).items()}
        if len(files) < count:
            facts[f"{name}: missing"] = f"of {count - len(files)} of {count} images"
    return facts


def _ranges(samples: Samples) -> dict[str, str]:
    """Return the stored values that become 0 and 1, of several files an image of each."""
    ranges, words = samples.ranges(torch.arange(len(samples))), "values that become 0 and 1"
    layout = samples.layout
    if layout is None:
        return {words: _pairs(ranges)}
    names = samples.spec["columns"] if samples.spec and samples.spec["columns"] else [""]
    return {
        f"{name}: {words}" if name else words: _pairs(ranges[:, channels.start])
        for name, channels in zip(names, layout.files, strict=True)
    }


def _pairs(ranges: torch.Tensor) -> str:
    return _most_common(f"{low:g} and {high:g}" for low, high in ranges.tolist())


def _of_files(files: FactTable) -> dict[str, str]:
    """Return what the files have in common, as `describe` does."""

    def of(name: str) -> Iterator[Any]:
        return (one[name] for one in files.pick(name))

    spacings = ("×".join(f"{mm:.3g}" for mm in spacing or []) for spacing in of("spacing"))
    low, high = np.array(list(of("extremes"))).T
    return {
        "sizes in the files": _most_common("×".join(map(str, shape)) for shape in of("shape")),
        "channels": _most_common(map(str, of("channels"))),
        "types": _most_common(of("dtype")),
        "spacings, mm": _most_common(spacing or "not said" for spacing in spacings),
        "modalities": _most_common(str(modality or "not said") for modality in of("modality")),
        "values in the files": f"{low.min():g} … {high.max():g}",
    }


def _cut(files: FactTable) -> str:
    """Return how many files were cut, and to which share of their pixels."""
    cut = (fact for fact in files.pick("shape", "crop") if crop_in(fact) is not None)
    shares = [kept_share(fact) for fact in cut]
    kept = f", to {np.median(shares):.0%} of their pixels (median)" if shares else ""
    rest = "; the others are whole" if len(shares) < len(files) else ""
    return f"{len(shares)} of {len(files)} files{kept}{rest}"


def _most_common(values: Any, most: int = 5) -> str:
    """Return values with their counts, as ``512×512 (980), 1024×1024 (20)``."""
    counted = Counter(values).most_common()
    shown = ", ".join(f"{value} ({number})" for value, number in counted[:most])
    return shown if len(counted) <= most else f"{shown} and {len(counted) - most} others"


def shown_rows(samples: Samples, n: int) -> torch.Tensor:
    """Return at most `n` rows, evenly from the training split, or from all where that is empty."""
    rows = np.flatnonzero((samples.table["split"] == "train").to_numpy())
    rows = rows if len(rows) else np.arange(len(samples))
    at = np.linspace(0, len(rows) - 1, min(n, len(rows))).round().astype(int)
    return torch.from_numpy(rows[at])


def label_of(samples: Samples, row: int) -> str:
    """Return a sample's label in words."""
    values = samples.table[samples.label_columns].iloc[row].tolist()
    if samples.task == "regression":
        return ", ".join("unknown" if np.isnan(v) else f"{v:.4g}" for v in values)
    if samples.task == "multilabel":
        found = [n for n, value in zip(samples.class_names, values, strict=True) if value == 1]
        return ", ".join(found) or ("unknown" if UNKNOWN in values else "none")
    return "unknown" if values[0] == UNKNOWN else samples.class_names[values[0]]


def intensities(samples: Samples, split: str) -> np.ndarray:
    """Return some values, in 0 … 1, of some images of a split."""
    rows = np.flatnonzero((samples.table["split"] == split).to_numpy())
    rows = rows[np.linspace(0, len(rows) - 1, min(MOST, len(rows))).astype(int)]
    taken = []
    for part in torch.from_numpy(rows).split(16):
        values = unit_images(samples, part).flatten(1)
        taken.append(values[:, :: max(1, values.shape[1] // VALUES)].flatten())
    return torch.cat(taken).numpy()
