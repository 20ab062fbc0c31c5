"""A folder of image files whose subfolders are named for the classes."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medcnn.data.image_files import is_image, kinds, list_images, visible_files
from medcnn.data.listing import Listing
from medcnn.data.sources.common import existing_folder, image_spec
from medcnn.data.sources.labels import LabelOptions, read_labels
from medcnn.data.splits import SPLIT_NAMES
from medcnn.errors import UserError
from medcnn.jobs.notes import note, visible

log = logging.getLogger(__name__)
SHOWN = 5  # names of folders in a message


def folder(
    *,
    path: str | Path,
    patient: str | None = None,
    task: str = "auto",
    classes: Sequence[str] | None = None,
    positive: str | None = None,
    **image: Any,
) -> Listing:
    r"""List ``class/…/image``, or ``split/class/…/image``, by path; the images aren't opened.

    The second is meant where all subfolders have names of splits (train, val, valid, test, …).
    Images are the files that `medcnn.data.image_files.list_images` finds; others are named in a
    note. For networks of volumes, and where slices are taken, a folder below that of a class
    with several DICOM files is one series.

    Args:
        path: The folder. No image may lie outside of it, through a symbolic link either.
        patient: Regular expression that finds the patient in an image's path below its class
            (``p01/left/3.png``): its first group, or where it has none the whole match.
            ``^[^/]+`` is the first folder, ``^\d+`` the number that a file name begins with. None:
            each image counts as a patient of its own.
        task: See `medcnn.data.sources.labels.LabelOptions`, as for `classes` and `positive`; auto,
            binary, multiclass or ordinal.
        classes: Names of the folders in the order of the classes.
        positive: Name of the class that is sought, of two.
        image: Options of `medcnn.data.sources.common.image_spec`: how files become inputs.

    Raises:
        UserError: There is no such folder, one of a class can't be read or holds other files only,
            classes and splits can't be distinguished, or an image is in no class or of no patient.
    """
    root = existing_folder(path, "dataset.path")
    if task not in ("auto", "binary", "multiclass", "ordinal"):
        raise UserError(
            f"dataset.task={task}: folders are classes: auto, binary, multiclass, ordinal"
        )
    spec = image_spec(**image)
    options = LabelOptions(task=task, classes=classes, positive=positive)
    depth = _depth(root, options.names)
    images = _images(root, depth, spec.spatial_dims == 3 or spec.slices is not None)
    _check_classes(root, depth, images, options.names)
    table = _table(images, depth, patient)
    labels = read_labels(table[["label"]], options)
    return Listing(
        name=root.name,
        table=table.assign(label=labels.columns["label"]),
        root=root,
        spec=spec,
        task=labels.task,
        class_names=labels.class_names,
        positive=labels.positive,
    )


def _folders(path: Path) -> list[Path]:
    """Return the visible folders in a folder; none where it can't be read, see `_images`."""
    try:
        inside = sorted(path.iterdir())
        return [child for child in inside if child.is_dir() and not child.name.startswith(".")]
    except OSError:
        return []


def _depth(root: Path, classes: list[str] | None) -> int:
    """Return the number of folders above an image: 1, its class, or 2, its split and its class."""
    top = _folders(root)
    given = {name.casefold() for name in classes or []}
    names = [child.name for child in top if child.name.casefold() not in given]
    splits = [name for name in names if name.lower() in SPLIT_NAMES]
    if len(top) == 1 and not splits and classes is None and len(below := _folders(top[0])) > 1:
        shown = ", ".join(child.name for child in below[:SHOWN])
        raise UserError(
            f"dataset.path={root} holds one folder only, {top[0].name}, and in it {shown}: if "
            f"these are the classes or the splits, give dataset.path={top[0]}"
        )
    if splits and len(splits) < len(top):
        others = [child.name for child in top if child.name not in splits]
        raise UserError(
            f"dataset.path={root}: {', '.join(splits)} look like splits, but beside them lies "
            f"{', '.join(others[:SHOWN])}: move that away or, if all of them are classes, name "
            "them in dataset.classes"
        )
    inner = {child.name for folder in top if splits for child in _folders(folder)}
    if twice := sorted(name for name in inner if name.lower() in {*SPLIT_NAMES} - given):
        raise UserError(
            f"dataset.path={root}: the splits hold folders called {', '.join(twice)} where classes "
            "are expected; the layout is split/class/…/image"
        )
    return 2 if splits else 1


def _check_classes(root: Path, depth: int, images: list[str], classes: list[str] | None) -> None:
    """Raise UserError at a class without a file that can be read, if it is asked for."""
    seen = {tuple(name.split("/")[:depth]) for name in images}
    folders = _folders(root)
    if depth == 2:
        folders = [inner for folder in folders for inner in _folders(folder)]
    wanted = None if classes is None else {name.casefold() for name in classes}
    for folder in folders:
        place = folder.relative_to(root)
        if place.parts in seen or not (wanted is None or folder.name.casefold() in wanted):
            continue
        if files := visible_files(folder, f"dataset.path={root}")[0]:
            raise UserError(
                f"dataset.path={root}: no file in the folder {place.as_posix()} is an image that "
                f"medcnn reads, only {kinds(files)}: convert them, or, if it is no class, move it "
                "away or name the others in dataset.classes"
            )


def _images(root: Path, depth: int, volumes: bool) -> list[str]:
    """Return the paths from `root` of all images that lie below so many folders."""
    if linked := visible_files(root, f"dataset.path={root}")[1]:
        raise UserError(
            f"dataset.path={root}: {linked} of its folders are symbolic links, which aren't "
            "followed; put the images themselves there, or list them in a table (dataset=csv)"
        )
    found: set[Path] = set()
    for path in list_images(root, volumes=volumes, key="dataset.path"):
        if path.is_dir() and len(path.relative_to(root).parts) <= depth:  # a class is no series
            found |= {child for child in path.iterdir() if is_image(child)}
        else:
            found.add(path)
    names = sorted(path.relative_to(root).as_posix() for path in found)
    if outside := [name for name in names if name.count("/") < depth]:
        places = sorted({str((root / name).parent) for name in outside})  # no name of an image
        layout = "split/class/…/image" if depth == 2 else "class/…/image"
        raise UserError(
            f"dataset.path: {len(outside)} images lie right in {', '.join(places)}, in no folder "
            f"of a class; the layout is {layout}"
        )
    return names


def _table(images: list[str], depth: int, patient: str | None) -> pd.DataFrame:
    """Return the columns image, patient, label (a name) and, of that layout, split."""
    parts = [name.split("/", depth) for name in images]
    table = pd.DataFrame({"image": images})
    table["patient"] = _patients(images, [part[-1] for part in parts], patient)
    if depth == 2:
        table["split"] = [SPLIT_NAMES[part[0].lower()] for part in parts]
    table["label"] = [part[depth - 1] for part in parts]
    return table


def _patients(images: list[str], below: list[str], pattern: str | None) -> list[str]:
    """Return the patient of each image, by its path `below` its class."""
    if pattern is None:
        note(
            "the folder does not say whose images these are: each counts as a patient of its "
            "own, and images of one patient may come into two splits (see dataset.patient)"
        )
        return images
    try:
        found = [re.search(pattern, name) for name in below]
    except (re.error, TypeError, OverflowError) as error:
        raise UserError(f"dataset.patient={pattern} is no regular expression: {error}") from error
    patients = ["" if m is None else (m[1] if m.re.groups else m[0]) or "" for m in found]
    if without := patients.count(""):
        log.warning("dataset.patient finds no patient in %s", visible(below[patients.index("")]))
        raise UserError(  # without the path, as a run keeps its error
            f"dataset.patient={pattern} finds no patient in {without} of {len(below)} paths below "
            "the classes; give an expression that matches all of them"
        )
    return patients
