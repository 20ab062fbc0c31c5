"""Options and paths that tables and folders of image files share."""

import os
from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path, PureWindowsPath
from typing import Any

import pandas as pd

from medcnn.data.image import ImageSpec
from medcnn.data.image_files import given_path
from medcnn.errors import UserError, check_whole_number


def existing_folder(path: str | Path, key: str) -> Path:
    """Return an absolute path without symbolic links; raise UserError if it is no folder."""
    folder = given_path(path, key)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "is no folder"
        raise UserError(f"{key}={path} {what}")
    return folder.resolve()


def image_spec(
    *, size: int | Sequence[int] = 224, spatial_dims: int = 2, **options: Any
) -> ImageSpec:
    """Return the `ImageSpec` of a config's keys; raise UserError if one of them can't be.

    The size is that of the network's input, in pixels: one number, or one for each edge. The
    options are the others of `ImageSpec`; lists stand for tuples. So may ``tiles`` be one number.
    """
    from medcnn.data.prepared.crop import check_crop
    from medcnn.data.prepared.geometry import check_spec
    from medcnn.data.prepared.intensity import check_intensity
    from medcnn.data.prepared.tiles import check_tiles

    of_tables = ("columns", "missing_channel", "mask_as")
    others = (field.name for field in fields(ImageSpec) if field.name not in of_tables)
    known = ["spatial_dims", *others]
    if unknown := [key for key in options if key not in known]:
        raise UserError(
            f"dataset.{unknown[0]}: no such option; of images there are {', '.join(known)}"
        )
    check_whole_number("dataset.spatial_dims", spatial_dims, 2, 3)
    if (tiles := options.get("tiles")) is not None:
        options["tiles"] = _edges("tiles", tiles, spatial_dims)
    spec = ImageSpec.of({"size": _edges("size", size, spatial_dims), **options})
    check_spec(spec)
    check_tiles(spec)
    check_crop(spec)
    check_intensity(spec.intensity)
    return spec


def _edges(key: str, given: int | Sequence[int], dims: int) -> list[int]:
    """Return the length of each edge; raise UserError if these are others than `dims`."""
    several = isinstance(given, Sequence) and not isinstance(given, str)
    edges: list[Any] = list(given) if several else [given] * dims  # type: ignore[arg-type]
    if len(edges) != dims:
        raise UserError(
            f"dataset.{key}={given} has {len(edges)} numbers, but dataset.spatial_dims={dims}"
        )
    return edges


def paths_within(root: Path, names: pd.Series, base: Path) -> pd.Series:
    """Return paths from a root, as `Listing` has them.

    Args:
        root: Folder that none may leave, symbolic links resolved.
        names: Paths as a person writes them: with slashes or backslashes, absolute or from `base`.
        base: Where relative ones start.

    Returns:
        For each name its path from `root`, with forward slashes, folders on the way resolved; None
        where it leaves `root`, by ``..``, as an absolute path or through a folder that is a
        symbolic link. A file that is one is found when it is opened.
    """
    resolved = cache(os.path.realpath)  # many files share few folders
    top = str(root)
    below = top.rstrip(os.sep) + os.sep

    def within(name: str) -> str | None:  # in texts, as paths take five times as long
        if (":" in name[:2] or name[:1] in "\\/") and PureWindowsPath(name).drive:
            return None
        whole = os.path.join(base, name.replace("\\", "/")).rstrip("/") or "/"  # noqa: PTH118  # fast
        folder, last = os.path.split(whole)
        if last in ("", ".", ".."):
            folder, last = os.path.split(os.path.realpath(whole))
        path = os.path.join(resolved(folder), last)  # noqa: PTH118 (fast)
        if path == top:
            return "."
        return path[len(below) :].replace(os.sep, "/") if path.startswith(below) else None

    return names.map(within)
