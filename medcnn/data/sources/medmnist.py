"""The 18 MedMNIST+ data sets, by the metadata of the ``medmnist`` package.

J. Yang et al., "MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image
classification", Scientific Data 10:41, 2023. https://medmnist.com
"""

import ast
import hashlib
import importlib.util
import logging
import math
import shutil
import urllib.request
import zipfile
import zlib
from difflib import get_close_matches
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medcnn.data.formats.array import npy_header
from medcnn.data.memory import available_memory
from medcnn.data.samples import SPLITS, Samples, Task
from medcnn.errors import UserError
from medcnn.jobs.atomic_files import replacing

log = logging.getLogger(__name__)

TASKS: dict[str, Task] = {
    "binary-class": "binary",
    "multi-class": "multiclass",
    "multi-label, binary-class": "multilabel",
    "ordinal-regression": "ordinal",
}

# The class of sensitivity and specificity: the finding that is sought.
POSITIVE = {
    "breastmnist": 0,  # malignant; MedMNIST put "normal, benign" at 1
    "pneumoniamnist": 1,  # pneumonia
    "nodulemnist3d": 1,  # malignant
    "adrenalmnist3d": 1,  # hyperplasia
    "vesselmnist3d": 1,  # aneurysm
    "synapsemnist3d": 1,  # excitatory; neither class is a disease, so MedMNIST's own order
}


def medmnist(flag: str, *, root: str | Path, size: int = 28, download: bool = True) -> Samples:
    """Read one MedMNIST data set with its official splits, in the order train, val, test.

    Images are uint8 of 0 … 255: (N, C, H, W), or (N, C, D, H, W) for the sets that end in ``3d``;
    C is 1 for grey and 3 for colour. In the table ``image`` is the row in the array of its split
    (``train/12``). MedMNIST publishes no patient ids, so each image counts as a patient of its own
    (``train-12``): intervals over patients are too narrow where one has several images.

    Args:
        flag: Name of the set, such as ``breastmnist``.
        root: Folder of ``<flag>.npz`` (28 pixels) or ``<flag>_<size>.npz``.
        size: Pixels an edge: 28, 64, 128 or 224; 28 or 64 for volumes.
        download: Whether to download a missing file to `root`.

    Raises:
        UserError: No such set or size; the file is missing and can't be downloaded, or is damaged.
    """
    info = _metadata(flag)
    url, md5 = _source(flag, info, size)
    path = Path(root).expanduser() / (f"{flag}.npz" if size == 28 else f"{flag}_{size}.npz")
    if not path.is_file():
        if not download:
            raise UserError(f"{path} is missing: download {url} and save it there")
        _download(url, md5, path)
    task = TASKS[info["task"]]
    names = tuple(info["label"][str(k)] for k in range(len(info["label"])))
    columns = [f"label:{name}" for name in names] if task == "multilabel" else ["label"]
    spatial = (size,) * (3 if flag.endswith("3d") else 2)
    try:
        if (got := _md5(path)) != md5:
            log.warning(
                "%s is not the published file (MD5 %s, published %s): "
                "results on it are not comparable with published ones",
                path,
                got,
                md5,
            )
        most = sum(info["n_samples"].values())
        table, images = _read(path, (info["n_channels"], *spatial), columns, most)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = error.args[0] if isinstance(error, KeyError) else error
        raise UserError(
            f"{path} can't be read ({reason}): download {url} and save it there instead"
        ) from error
    return Samples(
        name=path.stem,
        table=table,
        images=images,
        task=task,
        class_names=names,
        positive=POSITIVE.get(flag),
    )


@cache
def _info() -> dict[str, dict[str, Any]]:
    """Return ``medmnist.INFO``, read from the package's source.

    To import the package takes seconds (it imports scikit-image) and makes a folder
    ``~/.medmnist``; the dictionary is a literal.
    """
    package = importlib.util.find_spec("medmnist")
    if package is None or not package.submodule_search_locations:
        raise UserError("the package medmnist is not installed: pip install medmnist")
    source = Path(package.submodule_search_locations[0], "info.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "INFO":
            return dict(ast.literal_eval(node.value))
    raise UserError("the installed medmnist has no INFO: pip install medmnist==3.0.2")


def _metadata(flag: str) -> dict[str, Any]:
    """Return the package's entry for one set."""
    known = _info()
    if flag not in known:
        near = get_close_matches(flag, known, n=3, cutoff=0.5) or known
        raise UserError(f"MedMNIST has no set {flag!r}: did you mean {', '.join(near)}?")
    return known[flag]


def _source(flag: str, info: dict[str, Any], size: int) -> tuple[str, str]:
    """Return the address and MD5 of the published file of that size."""
    suffix = "" if size == 28 else f"_{size}"
    if f"url{suffix}" not in info:
        sizes = [28, *sorted(int(key[4:]) for key in info if key.startswith("url_"))]
        raise UserError(f"{flag} has no size {size}: choose one of {', '.join(map(str, sizes))}")
    return info[f"url{suffix}"], info[f"MD5{suffix}"]


def _download(url: str, md5: str, path: Path) -> None:
    """Download a file whole or not at all: under a temporary name, checked, then renamed."""
    print(f"downloading {url} to {path}", flush=True)
    try:
        with urllib.request.urlopen(url, timeout=30) as response, replacing(path) as part:
            with part.open("wb") as file:
                shutil.copyfileobj(response, file, 1 << 20)
            if (got := _md5(part)) != md5:
                raise UserError(
                    f"download of {url} is damaged (MD5 {got}, published {md5}): try again"
                )
    except (OSError, HTTPException) as error:
        raise UserError(
            f"{path} is missing and could not be downloaded ({error}): "
            f"download {url} by hand and save it there"
        ) from error


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _read(
    path: Path, image_shape: tuple[int, ...], columns: list[str], most: int
) -> tuple[pd.DataFrame, Tensor]:
    """Return the sample table, and images (N, *image_shape) uint8, image_shape (C, *spatial)."""
    if not zipfile.is_zipfile(path):
        raise ValueError("not a complete .npz archive")
    _check_sizes(path, image_shape, most)
    with np.load(path, allow_pickle=False) as file:
        tables = [_table(split, file[f"{split}_labels"], columns) for split in SPLITS]
        table = pd.concat(tables, ignore_index=True)
        images = torch.empty((len(table), *image_shape), dtype=torch.uint8)
        parts = images.split([len(part) for part in tables])
        for split, part in zip(SPLITS, parts, strict=True):  # one at a time, as some take 10 GB
            _fill(part, file[f"{split}_images"], f"{split}_images")
    return table, images


def _check_sizes(path: Path, image_shape: tuple[int, ...], most: int) -> None:
    """Raise ValueError for arrays far larger than published, UserError without memory for them."""
    total = 0
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                shape, _, dtype = npy_header(member)
            size = math.prod(shape) * dtype.itemsize
            if size > 8 * most * max(64, math.prod(image_shape)):
                raise ValueError(f"{name} declares {size / 1e9:.1f} GB, far more than is published")
            total += size
    if total > available_memory():
        raise UserError(f"{path} takes {total / 1e9:.1f} GB of memory, more than is free")


def _table(split: str, stored: np.ndarray, columns: list[str]) -> pd.DataFrame:
    """Return the sample table of one split from its labels (n, columns); some copies hold (n,)."""
    count = len(stored) if stored.ndim else 0
    if stored.dtype.kind not in "iu" or count == 0 or stored.size != count * len(columns):
        raise ValueError(
            f"{split}_labels is {stored.dtype} {stored.shape}, "
            f"should be whole numbers (n, {len(columns)})"
        )
    table = pd.DataFrame(stored.reshape(count, -1).astype(np.int64), columns=columns)
    table.insert(0, "image", [f"{split}/{i}" for i in range(count)])
    table.insert(1, "patient", [f"{split}-{i}" for i in range(count)])
    table.insert(2, "split", split)
    return table


def _fill(images: Tensor, stored: np.ndarray, key: str) -> None:
    """Copy (n, *spatial) or, in colour, (n, *spatial, 3) into (n, C, *spatial)."""
    channels = images.shape[1]
    expected = (len(images), *images.shape[2:], *([channels] if channels > 1 else []))
    if stored.shape != expected or stored.dtype != np.uint8:
        raise ValueError(f"{key} is {stored.dtype} {stored.shape}, should be uint8 {expected}")
    source = torch.from_numpy(stored)
    images.copy_(source.movedim(-1, 1) if channels > 1 else source[:, None])
