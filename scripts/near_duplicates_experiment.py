"""Which images does the audit call near-duplicates? False alarms, and copies that it misses.

MEDCNN_DATA=../shared/data python scripts/near_duplicates_experiment.py
    [--copies 100] [--repeats 3] [--output docs/near_duplicates.csv]

Real images: chest radiographs of different patients (NIH ChestX-ray14, 64 pixels), brain slices in
blocks (a block stands for a patient, 512 pixels), PneumoniaMNIST and BreastMNIST (28 pixels); and
the phantom's films and volumes. A row is a data set at an input size and a kind:

- none: the set as it is, split by patient; `images` of val and test, `found` that are called a copy
  of one of an earlier split. MedMNIST's splits are the official ones; `found` includes those that
  are the same in every pixel, `identical`. Elsewhere several splits (of phantoms several seeds)
  are summed up.
- any other: `images` copies of training images, changed in that way (crops: at each edge; window:
  percentiles that become black and white), of which `found` are matched with their original, or
  with an image that is called a copy of it anyway.

All rows take about five minutes on a core.
"""

import argparse
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as Picture

from medcnn.data.checks.duplicates import content_hashes, near_duplicates
from medcnn.data.image import Image, ImageSpec
from medcnn.data.phantom.dataset import phantom
from medcnn.data.prepared.geometry import prepare

Array = NDArray[Any]
SHARES = (0.64, 0.12, 0.24)  # of train, val and test
THIRDS = {"normal": 1, "nodule": 1, "effusion": 1}


class Set(NamedTuple):
    """Images of 8 bits (H, W) or 16 bits (D, H, W), and whom they are of."""

    name: str
    images: list[Array]
    groups: Array
    splits: list[Array]  # for several repeats: names (N,)
    sizes: tuple[int, ...]


def main() -> None:
    """Measure every set and write the table after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--copies", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("docs/near_duplicates.csv"))
    options = parser.parse_args()
    root = Path(os.environ.get("MEDCNN_DATA", "../shared/data"))
    rows: list[dict[str, Any]] = []
    sets: list[Callable[[], list[Set]]] = [
        lambda: phantoms(2, options.repeats),
        lambda: phantoms(3, min(2, options.repeats)),
        lambda: [chest(root, options.repeats)],
        lambda: [brain(root, options.repeats)],
        lambda: [medmnist(root, "pneumoniamnist")],
        lambda: [medmnist(root, "breastmnist")],
    ]
    for load in sets:
        several = load()
        for size in several[0].sizes:
            rows.append(false_alarms(several, size))
            print(rows[-1], flush=True)
            rows += misses(several[0], size, options.copies)
            pd.DataFrame(rows).to_csv(options.output, index=False)


def phantoms(dims: int, repeats: int) -> list[Set]:
    """The default phantom of several seeds."""
    sets = []
    for seed in range(repeats):
        shares = dict(zip(("train", "val", "test"), (64, 12, 24), strict=True))
        made = phantom(class_shares=THIRDS, split_shares=shares, seed=seed, spatial_dims=dims)
        images = [image[0].numpy() for image in made.images[torch.arange(len(made))]]
        splits = [made.table["split"].to_numpy(dtype=object)]
        size = images[0].shape[0]
        patients = made.table["patient"].to_numpy()
        sets.append(Set(f"phantom {dims}-D", images, patients, splits, (size,)))
    return sets


def chest(root: Path, repeats: int) -> Set:
    """Chest radiographs, split by patient."""
    table = pd.read_csv(root / "nih_chestxray_1000" / "labels.csv")
    folder = root / "nih_chestxray_1000" / "images"
    images = [np.asarray(Picture.open(folder / name).convert("L")) for name in table["file"]]
    patients = table["patient_id"].to_numpy()
    splits = [split_by(patients, seed) for seed in range(repeats)]
    return Set("chest films (NIH)", images, patients, splits, (64,))


def brain(root: Path, repeats: int) -> Set:
    """Brain slices, split by block."""
    table = pd.read_csv(root / "brain_tumor" / "annotations.csv")
    folder = root / "brain_tumor"
    images = [np.asarray(Picture.open(folder / name).convert("L")) for name in table["file"]]
    blocks = table["block"].to_numpy()
    splits = [split_by(blocks, seed) for seed in range(repeats)]
    return Set("brain slices", images, blocks, splits, (64, 224))


def medmnist(root: Path, name: str) -> Set:
    """A set of MedMNIST in its official splits."""
    with np.load(root / "medmnist" / f"{name}.npz") as arrays:
        parts = {split: arrays[f"{split}_images"] for split in ("train", "val", "test")}
    images = list(np.concatenate(list(parts.values())))
    splits = np.repeat(np.array(list(parts), object), [len(part) for part in parts.values()])
    return Set(name, images, np.arange(len(images)), [splits], (28,))


def split_by(groups: Array, seed: int) -> Array:
    """Names of splits (N,), the same for all of a group."""
    names, codes = np.unique(groups, return_inverse=True)
    drawn = np.random.default_rng(seed).choice(["train", "val", "test"], len(names), p=SHARES)
    return drawn.astype(object)[codes]


def prepared(images: list[Array], size: int) -> torch.Tensor:
    """Images as a network gets them, (N, 1, *size)."""
    spec = ImageSpec(size=(size,) * images[0].ndim, allow_missing_geometry=True)
    return torch.from_numpy(np.concatenate([prepare(Image(i[None]), spec) for i in images]))


def false_alarms(several: list[Set], size: int) -> dict[str, Any]:
    """How many images of val and test are called copies in the set as it is."""
    count, found, same = 0, 0, 0
    for one in several:
        images = prepared(one.images, size)
        hashes = content_hashes(images)
        for splits in one.splits:
            pairs, _ = near_duplicates(images, splits.tolist())
            found += len(pairs)
            same += sum(hashes[row] == hashes[other] for row, other in pairs.tolist())
            count += int((splits != "train").sum())
    row = {"set": several[0].name, "size": size, "kind": "none"}
    return row | {"images": count, "found": found, "identical": same}


def misses(one: Set, size: int, count: int) -> list[dict[str, Any]]:
    """How many copies are found, for each way of copying."""
    originals = prepared(one.images, size)
    chosen = np.random.default_rng(0).permutation(len(originals))[:count]
    rows = []
    for kind, change in CHANGES.items():
        if kind.startswith("JPEG") and one.images[0].ndim == 3:
            continue
        copies = prepared([change(one.images[k]) for k in chosen], size)
        splits = ["train"] * len(originals) + ["test"] * len(copies)
        pairs, _ = near_duplicates(torch.cat([originals, copies.to(originals.dtype)]), splits)
        rows.append({"set": one.name, "size": size, "kind": kind, "images": len(copies)})
        rows[-1] |= {"found": matched(pairs, originals, chosen), "identical": ""}
        print(rows[-1], flush=True)
    return rows


def matched(pairs: Array, originals: torch.Tensor, chosen: Array) -> int:
    """How many copies are matched with their original, or with a copy of that."""
    count = len(originals)
    right = [chosen[row - count] == other for row, other in pairs.tolist()]
    twins = [
        len(near_duplicates(originals[[other, chosen[row - count]]], ["train", "test"])[0])
        for (row, other), same in zip(pairs.tolist(), right, strict=True)
        if not same
    ]
    return sum(right) + sum(twins)


def jpeg(quality: int) -> Callable[[Array], Array]:
    """Saved as JPEG and opened again."""

    def change(image: Array) -> Array:
        stored = io.BytesIO()
        Picture.fromarray(image).save(stored, "JPEG", quality=quality)
        return np.asarray(Picture.open(stored))

    return change


def scaled(factor: float) -> Callable[[Array], Array]:
    """With edges of another length."""

    def change(image: Array) -> Array:
        size = [round(edge * factor) for edge in image.shape]
        values = torch.from_numpy(image.astype(np.float32))[None, None]
        if image.ndim == 2:
            values = F.interpolate(values, size, mode="bicubic", antialias=factor < 1)
        else:
            values = F.interpolate(values, size, mode="trilinear")
        return stored_like(image, values[0, 0].numpy())

    return change


def cropped(share: float) -> Callable[[Array], Array]:
    """Without a share of each edge, at least a pixel."""

    def change(image: Array) -> Array:
        cut = [max(1, round(edge * share)) for edge in image.shape]
        return np.ascontiguousarray(image[tuple(slice(c, -c) for c in cut)])

    return change


def windowed(low: float, high: float) -> Callable[[Array], Array]:
    """With percentiles as black and white."""

    def change(image: Array) -> Array:
        black, white = np.percentile(image, [low, high])
        return on_scale(image, (image - black) / max(white - black, 1))

    return change


def bent(gamma: float) -> Callable[[Array], Array]:
    """With its grey values raised to a power."""

    def change(image: Array) -> Array:
        low, high = int(image.min()), int(image.max())
        return on_scale(image, ((image - low) / max(high - low, 1)) ** gamma)

    return change


def on_scale(image: Array, share: Array) -> Array:
    """Values 0 … 1, cut off, as those between the least and the greatest of the image."""
    low, high = float(image.min()), float(image.max())
    return stored_like(image, low + share.clip(0, 1) * (high - low))


def faint(image: Array) -> Array:
    """With half the contrast, and brighter."""
    low, high = float(image.min()), float(image.max())
    return stored_like(image, low + (high - low) / 4 + (image - low) / 2)


def stored_like(image: Array, values: Array) -> Array:
    """Values in the data type of an image."""
    limits = np.iinfo(image.dtype)
    return values.round().clip(limits.min, limits.max).astype(image.dtype)


CHANGES: dict[str, Callable[[Array], Array]] = {
    "JPEG quality 90": jpeg(90),
    "JPEG quality 75": jpeg(75),
    "JPEG quality 50": jpeg(50),
    "scaled to 0.5": scaled(0.5),
    "scaled to 0.8": scaled(0.8),
    "scaled to 1.25": scaled(1.25),
    "cropped by 2 %": cropped(0.02),
    "cropped by 5 %": cropped(0.05),
    "window 2-98 %": windowed(2, 98),
    "window 5-95 %": windowed(5, 95),
    "window 20-99 %": windowed(20, 99),
    "gamma 0.5": bent(0.5),
    "gamma 1.5": bent(1.5),
    "gamma 2": bent(2),
    "half the contrast": faint,
}


if __name__ == "__main__":
    main()
