"""Paths in the cells of a table, and the reasons why some lead nowhere."""

import os
import re
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from pathlib import Path, PureWindowsPath

import pandas as pd

from medcnn.data.listing import SEPARATOR
from medcnn.data.sources.common import paths_within
from medcnn.data.sources.delimited import refuse_lines
from medcnn.errors import UserError

TRIED = 5  # paths that are searched elsewhere, to find out where they may start
FOLDERS = 1000  # in which they are searched


def read_images(cells: pd.DataFrame, folder: Path, root: Path) -> pd.DataFrame:
    """Return the column image; of several files an image beside it ``image:<name>`` of each."""
    names = [str(name) for name in cells]
    files = [read_paths(cells[name], "image", folder, root).rename(name) for name in names]
    found = pd.concat(files, axis=1)
    shown = names[0] if len(names) == 1 else f"[{','.join(names)}]"
    refuse_lines(found.isna().all(axis=1), f"dataset.columns.image={shown} is empty")
    every = pd.Series(found.stack()).dropna()  # by line and column
    again = every[every.duplicated(keep=False)]
    twice = again.groupby(level=0).nunique() < again.groupby(level=0).size()
    refuse_lines(twice, f"a file is in two of the columns {', '.join(names)}")
    refuse_lines(again.groupby(level=0).any(), "an image is listed more than once")
    if len(names) == 1:
        return pd.DataFrame({"image": found[names[0]]})
    table = found.add_prefix("image:")
    table.insert(0, "image", found.bfill(axis=1)[names[0]])
    return table


def read_paths(cells: pd.Series, key: str, folder: Path, root: Path) -> pd.Series:
    """Return paths from `root`; missing where the cell is empty.

    Args:
        cells: As they stand in the table, "" for none; the index is the line in the file.
        key: Of ``dataset.columns``, for messages.
        folder: Of the table, where relative paths start; or, if none leads to a file from there,
            at `root`.
        root: No path may leave it.

    Raises:
        UserError: Some leave `root`, or none leads to a file.
    """
    given = cells[cells != ""]
    name = f"dataset.columns.{key}={cells.name}"
    refuse_lines(
        given.str.contains(r"^[A-Za-z][A-Za-z0-9+.-]+://"),
        f"{name} holds an address (such as s3://…): give the one that all of them lie below as "
        "dataset.root",
    )
    here = paths_within(root, given, folder)
    there = here if folder == root else paths_within(root, given, root)
    relative = here[here != there].dropna()  # an absolute path is the same from both
    paths = here if any(_exists(Path(root, path)) for path in relative) else there
    if paths.isna().any():
        reason = _why_out(given, given[paths.isna()].iloc[0], folder, root)
        what = f"a path of {name} leads out of dataset.root ({root}), and is refused: {reason}"
        refuse_lines(paths.isna(), what)
    if len(paths) and not any(_exists(Path(root, path)) for path in paths):
        starts = tuple(dict.fromkeys((folder, root)))
        raise UserError(
            f"dataset.path: none of the {len(paths)} paths of {name} leads to a file from "
            f"{' or '.join(map(str, starts))}; {_why_nowhere(given, starts)}"
        )
    return paths.reindex(cells.index)


def read_several(cells: pd.Series, key: str, folder: Path, root: Path) -> pd.Series:
    """Return the paths of `read_paths` of cells that may hold several, between semicolons."""
    parts = cells.str.split(SEPARATOR).explode().str.strip()
    paths = read_paths(parts[parts != ""], key, folder, root)
    return paths.groupby(level=0).agg(SEPARATOR.join).reindex(cells.index)


def _why_out(given: pd.Series, name: str, folder: Path, root: Path) -> str:
    """Return why a path leaves `root`, and a root that none of the table's would leave."""
    if PureWindowsPath(name).drive:
        return "it names a drive or a share of Windows; write the paths from dataset.root"
    whole = os.path.join(folder, name.replace("\\", "/"))  # noqa: PTH118  # keeps ..
    reason = "it is absolute" if Path(name).is_absolute() else "it goes up with .."
    if (link := _link(Path(whole), root)) is not None:
        shown = link.relative_to(folder) if link.is_relative_to(folder) else link
        reason = f"{shown} is a link to {os.path.realpath(link)}"
    usable = [name for name in given if not PureWindowsPath(name).drive]
    parents = [Path(folder, name.replace("\\", "/")).parent for name in usable]
    common = os.path.commonpath([os.path.realpath(path) for path in set(parents)])
    return f"{reason}; all of them lie in dataset.root={common}"


def _link(path: Path, root: Path) -> Path | None:
    """Return the first folder on a path that is a symbolic link out of `root`."""
    for part in reversed(path.parents):
        if os.path.islink(part) and not part.resolve().is_relative_to(root):  # noqa: PTH114
            return part
    return None


def _why_nowhere(given: pd.Series, starts: Sequence[Path]) -> str:
    """Return why no path leads to a file, as far as it is known, and what to do."""
    names = [name.replace("\\", "/") for name in given[:TRIED]]
    if any(_forbidden(start / name) for start in starts for name in names):
        return "the folder that they name can't be read (Permission denied)"
    if all(Path(name).is_absolute() for name in names):
        return "they are absolute, and no such file is on this machine: write them from the table"
    found = [path.name for start in starts for name in names for path in _same_stem(start / name)]
    if found:
        return f"they lack the ending of their files ({Path(found[0]).suffix}): add it in the table"
    for start in _near(starts):
        if any(_exists(start / name) for name in names):
            return f"they start at dataset.root={start}"
    return "give the folder where they start as dataset.root"


def _same_stem(path: Path) -> Iterable[Path]:
    """Return files of that very name with an ending behind."""
    same = re.compile(rf"{re.escape(path.name)}\.\w+(\.gz)?")
    return (child for child in _inside(path.parent) if same.fullmatch(child.name))


def _near(starts: Sequence[Path]) -> Iterable[Path]:
    """Return folders above and right below those."""
    below = (child for start in starts for child in _inside(start))
    return islice(chain((start.parent for start in starts), below), FOLDERS)


def _inside(folder: Path) -> list[Path]:
    """Return what a folder holds; nothing where it can't be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _exists(path: Path) -> bool:
    """Return whether a path is there and may be seen, where `Path.exists` raises."""
    return os.path.exists(path)  # noqa: PTH110


def _forbidden(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, PermissionError)
    return False
