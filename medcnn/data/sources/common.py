"""What tables and folders of image files have in common."""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PureWindowsPath
from typing import Any

import pandas as pd

from medcnn.data.image import ImageSpec
from medcnn.data.samples import SPLITS
from medcnn.data.splits import OTHER_NAMES
from medcnn.errors import UserError, check_path, check_whole_number

# What people call the splits, in small letters.
SPLIT_NAMES = {name: name for name in SPLITS} | OTHER_NAMES | {"dev": "val"}


def existing_folder(path: str | Path, key: str) -> Path:
    """An absolute path without symbolic links.

    Raises:
        UserError: There is no such folder.
    """
    check_path(key, path)
    folder = Path(path).expanduser()
    try:
        there = folder.is_dir()
    except OSError as error:  # in a folder without permission
        raise UserError(f"{key}={path} can't be read ({error.strerror})") from None
    if not there:
        what = "is a file, not a folder" if folder.exists() else "is no folder"
        raise UserError(f"{key}={path} {what}")
    return folder.resolve()


def image_spec(*, size: int | Sequence[int], spatial_dims: int = 2, **options: Any) -> ImageSpec:
    """What the keys of a config say of how files become inputs.

    Args:
        size: One number for all edges, or one for each.
        spatial_dims: 2 or 3, of the network.
        options: The others of `ImageSpec`; lists stand for tuples.

    Raises:
        UserError: A value that can't be.
    """
    from medcnn.data.prepared.geometry import check_spec
    from medcnn.data.prepared.intensity import check_intensity

    check_whole_number("dataset.spatial_dims", spatial_dims, 2, 3)
    if isinstance(size, Sequence) and not isinstance(size, str):
        edges = list(size)
    else:
        edges = [size] * spatial_dims
    if len(edges) != spatial_dims:
        raise UserError(
            f"dataset.size={size} has {len(edges)} numbers, but dataset.spatial_dims={spatial_dims}"
        )
    for edge in edges:
        check_whole_number("dataset.size", edge, 1)
    spec = ImageSpec.of({"size": edges, **options})
    check_spec(spec)
    check_intensity(spec.intensity)
    return spec


def paths_within(root: Path, names: pd.Series, base: Path) -> pd.Series:
    """Paths as `Listing` wants them.

    Args:
        root: Folder that none may leave, symbolic links resolved.
        names: Paths as a person writes them: with slashes or backslashes, absolute or from `base`.
        base: Folder at which relative ones start.

    Returns:
        For each name its path from `root`, with forward slashes, folders on the way resolved; None
        where it leaves `root`, by ``..``, as an absolute path or through a folder that is a
        symbolic link. Whether the file itself is one, is seen when it is opened.
    """
    resolved = cache(os.path.realpath)  # many files share few folders

    def within(name: str) -> str | None:
        if PureWindowsPath(name).drive:
            return None
        whole = os.path.join(base, name.replace("\\", "/")).rstrip("/") or "/"  # noqa: PTH118  # fast
        folder, last = os.path.split(whole)
        if last in ("", ".", ".."):
            folder, last = os.path.split(os.path.realpath(whole))
        path = Path(resolved(folder), last)
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else None

    return names.map(within)
