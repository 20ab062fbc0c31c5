"""A table of image files with their labels and patients, as researchers keep it in a CSV file."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from medcnn.data.image import ImageSpec
from medcnn.data.keys import cleaned, tidy
from medcnn.data.listing import BOX, TILES, Listing
from medcnn.data.sources.boxes import check_box_options, read_boxes
from medcnn.data.sources.common import existing_folder, image_spec
from medcnn.data.sources.delimited import check_column, read_table, refuse_lines, without_empty
from medcnn.data.sources.facts import FACTS, read_fact
from medcnn.data.sources.labels import LabelOptions, Labels, no_labels, read_labels
from medcnn.data.sources.remote import address_of_images, fetch_named
from medcnn.data.sources.table_paths import read_images, read_several
from medcnn.data.sources.table_rows import label_cells, listed, note_look_alikes, one_row_an_image
from medcnn.data.splits import SPLIT_NAMES
from medcnn.errors import UserError, check_path
from medcnn.jobs.copies import local_copy
from medcnn.jobs.notes import note
from medcnn.jobs.remote import is_address

Columns = Mapping[str, Any]
# Default names; an optional column may be missing if it has the name given here.
COLUMNS: Columns = {
    "image": "image",
    "label": "label",
    "patient": "patient",
    "split": "split",
    "mask": "mask",
    "box": ["box_left", "box_top", "box_right", "box_bottom"],
    "study": "study",
    "view": "view",
    "site": "site",
    "sex": "sex",
    "age": "age",
    "features": None,
}
NEEDED = ("image", "label")
# Names with a meaning in the files of a run.
OWN = {*COLUMNS, *BOX, *TILES, "slice", "fold", "row", "content_hash"} - {"box", "features"}


def csv(
    *,
    path: str | Path,
    root: str | Path | None = None,
    columns: Columns | None = None,
    separator: str | None = None,
    no_finding: str | None = None,
    task: str = "auto",
    classes: Sequence[Any] | None = None,
    positive: Any = None,
    box_format: str = "xyxy",
    box_unit: str = "pixel",
    missing_channel: str = "refuse",
    mask_as: str = "none",
    **image: Any,
) -> Listing:
    """Read a table of images, one row an image; the images aren't opened.

    A cell that is empty, or NA, N/A or NaN, holds no value; no label means that it is unknown.

    Args:
        path: Text in UTF-8 with commas, semicolons or tabs, maybe compressed (``.csv.gz``); its
            first line names the columns.
        root: Folder that no image may leave; None for the table's. Relative paths start at the
            table's folder or, if none of them leads to a file from there, at `root`. A path to a
            folder stands for a DICOM series. Table and folder may be addresses, such as
            ``s3://bucket/films``: what the table names is copied first, see `medcnn.jobs.copies`.
        columns: Names of the columns with the keys of `COLUMNS`; None, or a key that is left out,
            for those names. ``image`` may be a list: files that together are one image, on the grid
            of the first one. ``label`` may be a list: a label of 0 and 1 each (true, false, yes and
            no do as well; -1 is unknown), or in regression a target each. ``box`` is a list of
            four, in the order of `box_format`, or one with all four numbers in a cell. None for a
            column that isn't to be used; without labels these are all unknown, and `task` and
            `classes` have to be given. ``features`` are inputs of the network beside the image
            (`medcnn.data.columns`). ``mask`` may be a list where there are several labels: a
            mask for each of them. An image may have several masks or boxes: in a cell with
            semicolons between them, or in rows of their own that agree in all else.
        separator: What stands between the labels in a cell of several (multi-label).
        no_finding: The label that means none of the others, where there is a separator.
        task: See `medcnn.data.sources.labels.LabelOptions`, as for `classes` and `positive`.
        classes: Names of the classes in their order.
        positive: Name of the class that is sought, of two.
        box_format: xyxy (left, top, right, bottom), xywh (left, top, width, height) or cxcywh
            (centre, width, height).
        box_unit: ``pixel`` of the file, or ``fraction`` of its width and height.
        missing_channel: Of several files an image, see `medcnn.data.image.ImageSpec`.
        mask_as: ``channel`` for a channel with the lesion's mask, or ``none``.
        image: Options of `medcnn.data.sources.common.image_spec`: how files become inputs.

    Returns:
        Rows in the table's order. Columns that have no meaning here are kept as text; where their
        name has one (a column ``split``, if another one was chosen), with ``table_`` before it.

    Raises:
        UserError: The table, a column or a cell can't be used, or no image is there.
    """
    check_path("dataset.path", path)
    names = _all_columns(columns)
    check_box_options(box_format, box_unit)
    spec = image_spec(**image)
    address = address_of_images(path, root)
    path = local_copy(path, "dataset.path") if is_address(path) else Path(path).expanduser()
    cells = read_table(path)
    options = LabelOptions(task, classes, positive, separator, no_finding)
    names = _present(names, cells)
    spec = _with_channels(spec, names, missing_channel, mask_as)
    if address is None:
        folder = path.parent.resolve()
        top = folder if root is None else existing_folder(root, "dataset.root")
    else:
        cells, top = fetch_named(cells, names, address)
        folder = top
    cells = one_row_an_image(cells, names)
    if names["label"] is None:
        labels = no_labels(options, cells.index)
    else:
        several = not isinstance(names["label"], str)
        labels = read_labels(label_cells(cells, names, options), options, several=several)
    cells = cells.apply(without_empty)
    table = _paths_and_patients(cells, names, folder, top)
    table[[str(name) for name in labels.columns]] = labels.columns
    for name, column in _mask_columns(names["mask"], names["label"], labels).items():
        table[name] = read_several(cells[column], "mask", folder, top)
    if names["box"] is not None:
        table[list(BOX)] = read_boxes(cells[listed(names["box"])], box_format, box_unit)
    kept = _add_rest(table, cells, names)
    return Listing(
        name=path.name.removesuffix(".gz").rsplit(".", 1)[0],
        table=table.reset_index(drop=True),
        root=top,
        spec=spec,
        task=labels.task,
        class_names=labels.class_names,
        positive=labels.positive,
        box_unit=box_unit,
        features=_features(names, kept),
    )


def _all_columns(given: Columns | None) -> dict[str, Any]:
    """Return the names of all columns, those of `COLUMNS` where others aren't given."""
    given = {} if given is None else given
    if not isinstance(given, Mapping) or set(given) - set(COLUMNS):
        raise UserError(f"dataset.columns={given}: the keys are {', '.join(COLUMNS)}")
    names = {**COLUMNS, **given}
    for key, value in names.items():
        if value is None and key != "image":
            continue
        several = isinstance(value, Sequence) and not isinstance(value, str)
        if several and key not in ("box", "features", "image", "label", "mask"):
            null = "" if key in NEEDED else ", or null"
            raise UserError(f"dataset.columns.{key}={value}: give a name{null}")
        texts = [cleaned(str(name)) for name in (value if several else [value])]
        if len(set(texts)) < max(len(texts), 1) or (key == "box" and len(texts) not in (1, 4)):
            count = "one or four" if key == "box" else "one or more"
            raise UserError(
                f"dataset.columns.{key}={value}: give the names of {count} different columns"
            )
        names[key] = texts if several else texts[0]
    if len(listed(names["image"])) == 1:
        (names["image"],) = listed(names["image"])
    return names


def _with_channels(
    spec: ImageSpec, names: dict[str, Any], missing_channel: Any, mask_as: Any
) -> ImageSpec:
    """Return a spec with what several files an image, and their mask, become."""
    from medcnn.data.prepared.tiles import check_tiles

    if missing_channel not in ("refuse", "zero"):
        raise UserError(f"dataset.missing_channel={missing_channel}: choose refuse or zero")
    if mask_as not in ("none", "channel"):
        raise UserError(f"dataset.mask_as={mask_as}: choose channel or none")
    columns = names["image"] if isinstance(names["image"], list) else []
    if missing_channel == "zero" and not columns:
        raise UserError(
            "dataset.missing_channel=zero goes with several files an image: "
            "dataset.columns.image=[t1,t2]"
        )
    if mask_as == "channel" and names["mask"] is None:
        raise UserError("dataset.mask_as=channel: name the column of masks, dataset.columns.mask")
    spec = replace(spec, columns=tuple(columns), missing_channel=missing_channel, mask_as=mask_as)
    check_tiles(spec)
    return spec


def _present(names: dict[str, Any], cells: pd.DataFrame) -> dict[str, Any]:
    """Return the same names, None for columns that may be missing and are."""
    found = dict(names)
    for key, value in names.items():
        optional = key not in NEEDED and value == COLUMNS[key]
        if optional and not any(name in cells for name in listed(value)):
            found[key] = None
        for name in listed(found[key]):
            check_column(cells, name, f"dataset.columns.{key}")
    keys = ("image", "label", "patient", "split")
    used = [name for key in keys for name in listed(found[key])]
    if twice := [name for name in used if used.count(name) > 1]:
        raise UserError(f"dataset.columns: {twice[0]} can't be two of {', '.join(keys)} at once")
    return found


def _mask_columns(
    given: str | list[str] | None, label: str | list[str], labels: Labels
) -> dict[str, str]:
    """Return the columns of masks by their new names: ``mask``, or ``mask:<label>`` for each."""
    if given is None:
        return {}
    if isinstance(given, str):
        return {"mask": given}
    order = label if isinstance(label, list) else labels.class_names
    if labels.task != "multilabel" or len(given) != len(order):
        raise UserError(
            f"dataset.columns.mask={given}: several columns are for several labels, one for each "
            f"of {', '.join(order)} in this order"
        )
    return {f"mask:{name}": column for name, column in zip(order, given, strict=True)}


def _paths_and_patients(
    cells: pd.DataFrame, names: dict[str, Any], folder: Path, root: Path
) -> pd.DataFrame:
    """Return the columns image, patient and, where known, split, on the lines of the file."""
    table = read_images(cells[listed(names["image"])], folder, root)
    images = table["image"]
    if names["patient"] is None:
        studies = None if names["study"] is None else cells[names["study"]].map(tidy)
        what = "image" if studies is None else "study"
        note(
            f"the table has no column of patients: each {what} counts as a patient of its own, "
            "and images of one patient may come into two splits (see dataset.columns.patient)"
        )
        table["patient"] = images if studies is None else studies.where(studies != "", images)
    else:
        patients = cells[names["patient"]].map(tidy)
        refuse_lines(patients == "", f"dataset.columns.patient={names['patient']} is empty")
        note_look_alikes(patients, "patient")
        table["patient"] = patients
    if names["split"] is not None:
        table["split"] = _splits(cells[names["split"]])
    return table


def _splits(cells: pd.Series) -> pd.Series:
    """Return the splits by their usual names."""
    key, null = f"dataset.columns.split={cells.name}", "dataset.columns.split=null"
    refuse_lines(cells == "", f"{key} is empty; fill it in, or don't use it: {null}")
    splits = cells.str.lower().map(SPLIT_NAMES)
    strange = ", ".join(sorted(set(cells[splits.isna()]))[:5])
    what = f"{key} holds {strange} instead of train, val or test; to split anew, {null}"
    refuse_lines(splits.isna(), what)
    return splits


def _features(names: dict[str, Any], kept: dict[str, str]) -> tuple[str, ...]:
    """Return the inputs of the network by their names in the sample table."""
    given = listed(names["features"])
    for name in given:
        if name not in kept:
            key = next(key for key, value in names.items() if name in listed(value))
            raise UserError(
                f"dataset.columns.features={name}: that is dataset.columns.{key}, and no input"
            )
    return tuple(kept[name] for name in given)


def _add_rest(table: pd.DataFrame, cells: pd.DataFrame, names: dict[str, Any]) -> dict[str, str]:
    """Add the facts of sites and persons, and all columns that have no meaning here.

    Returns:
        The names that all these have in the sample table, by those in the file.
    """
    for key in FACTS:
        if names[key] is not None:
            table[key] = read_fact(cells[names[key]], key)
    if names["site"] is not None:
        note_look_alikes(table["site"].rename(names["site"]), "site")
    used = {name for key in names if key != "features" for name in listed(names[key])}
    renamed = {names[key]: key for key in FACTS if names[key] is not None}
    for name in cells:
        if name not in used:
            own = name in OWN or str(name).startswith(("image:", "label:", "mask:"))
            kept = f"table_{name}" if own else str(name)
            while own and kept in cells:
                kept = f"table_{kept}"
            table[kept] = cells[name]
            renamed[str(name)] = kept
    return renamed
