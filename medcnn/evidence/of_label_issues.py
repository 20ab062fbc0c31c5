"""The images and maps of the labels of a cross-validation that are likeliest wrong."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from medcnn import cam
from medcnn.classifier.classifier import Classifier
from medcnn.data.as_trained import as_trained
from medcnn.data.batches import unit_intensity
from medcnn.data.samples import Samples
from medcnn.evaluation.label_issues import WHICH
from medcnn.evidence.explainer import Explainer
from medcnn.evidence.layers import FILE, item_record
from medcnn.evidence.own_grid import item_of_row
from medcnn.jobs.atomic_files import read_csv, write_json
from medcnn.jobs.progress import saying
from medcnn.report.maps.item import GalleryItem
from medcnn.report.runs import DOUBTFUL

KEY = ["image", "slice"]  # columns by which a row is found again, whatever the table has become
Record = dict[str, Any]


@saying("maps of labels that may be wrong")
def explain_label_issues(
    issues: pd.DataFrame,
    run: Path,
    members: Sequence[Classifier],
    samples: Samples,
    *,
    method: str,
    stage: str = "last",
) -> pd.DataFrame:
    """Draw images and maps of the labels that a page shows; return the table with their files.

    Each image is explained by the network of its fold, which never saw it: the suggested class, and
    of a picture the class of the label, too; of several labels an image the label's own output; in
    regression the prediction. Of a network without feature maps there are images alone. All lie in
    ``cams/`` of the run, with ``layers.json``. An image that is gone from the data is left out.

    Args:
        issues: See `medcnn.evaluation.label_issues.label_issues`; with the column ``fold``.
        run: Of the cross-validation; its samples.csv has the rows of `issues`.
        members: The classifiers of the folds.
        samples: The data of today.
        method: One of `medcnn.cam.METHODS`.
        stage: Whose activations are weighted.

    Returns:
        `issues` with ``picture`` and ``map``, files within the run; missing where there is none.
    """
    folder = run / "cams"
    shutil.rmtree(folder / "layers", ignore_errors=True)
    records = []
    for number, (row, issue) in enumerate(_found(issues[:DOUBTFUL], run, samples)):
        if row is None:
            continue
        classifier, own = members[issue["fold"]], replace(samples)
        as_trained(own, classifier.card)
        facts = {"row": issue["row"], "kind": "label", "issue": number}
        drawn = _drawn(classifier, own, row, issue, method, stage)
        for (item, about), end in zip(drawn, ("", "-as-labelled"), strict=False):
            records.append(item_record(item, folder, f"label-{number + 1}{end}", facts | about))
    write_json(folder / FILE, records)
    return issues.join(_files(len(issues), records, folder))


def _found(issues: pd.DataFrame, run: Path, samples: Samples) -> list[tuple[int | None, Record]]:
    """Return each issue behind its row in the data of today, None where its image is gone."""
    then = read_csv(run / "samples.csv").set_index("row").loc[issues["row"].astype(str).tolist()]
    keys, known = (
        table.reindex(columns=KEY, fill_value="").astype(str).itertuples(index=False, name=None)
        for table in (samples.table, then)
    )
    places = {key: row for row, key in enumerate(keys)}
    each: list[Any] = issues.to_dict("records")
    return [(places.get(key), issue) for key, issue in zip(known, each, strict=True)]


def _drawn(
    classifier: Classifier, samples: Samples, row: int, issue: Record, method: str, stage: str
) -> list[tuple[GalleryItem, Record]]:
    """Return the image of an issue with each of its maps, and what a page says of the map."""
    words = {"true": _text(issue, "label"), "predicted": _text(issue, "suggested")}
    if not classifier.spatial:
        return [(_alone(samples, row, words), {"method": None})]
    explainer = Explainer(classifier, samples, stage=stage)
    found = []
    for target in _targets(samples, issue):
        item, empty = _with_map(explainer, row, target, method, words)
        name = samples.class_names[target]
        name = f"the predicted {name}" if samples.task == "regression" else name
        found.append((item, {"method": method, "empty": empty, "explained": name}))
    return found


def _targets(samples: Samples, issue: Record) -> list[int]:
    """Return the classes whose maps are drawn: the suggested one, of a picture the label's, too.

    Of several labels or targets it is the one that the issue is of.
    """
    names = list(samples.class_names)
    if WHICH in issue:
        return [names.index(issue[WHICH])]
    if samples.task == "regression":
        return [0]
    classes = [names.index(issue["suggested"]), names.index(issue["label"])]
    return classes if len(samples.input_size) == 2 else classes[:1]


def _with_map(
    explainer: Explainer, row: int, target: int, method: str, words: Record
) -> tuple[GalleryItem, bool]:
    """Return an image with the map of a class, and whether that is empty."""
    batch, targets = explainer.batch(torch.tensor([row])), torch.tensor([target])
    maps, masks = explainer.maps(batch, targets, method), explainer.lesions(batch, targets)
    k = int(maps.flatten(1).amax(1).argmax())  # of a study the image that says the most
    mask = None if masks is None else masks[k]
    row, shown = int(batch.image_rows[k]), cam.normalise(maps)[k]
    picture = item_of_row(explainer.samples, row, batch.images[k], shown, mask)
    item = GalleryItem(**picture, **words, probability=None, correct=None)
    return item, bool(cam.is_empty(maps)[k])


def _alone(samples: Samples, row: int, words: Record) -> GalleryItem:
    """Return an image without a map."""
    at = torch.tensor([row])
    image = unit_intensity(samples.images[at], samples.ranges(at))[0]
    picture = item_of_row(samples, row, image, torch.zeros(image.shape[1:]), None)
    return GalleryItem(**picture, **words, probability=None, correct=None)


def _text(issue: Record, column: str) -> str:
    """Return the label or what is suggested, of several labels or targets with the one's name."""
    value = issue[column]
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f"{issue[WHICH]} {text}" if WHICH in issue else text


def _files(count: int, records: Sequence[Record], folder: Path) -> pd.DataFrame:
    """Return the columns ``picture`` and ``map`` of a table with so many rows.

    Of a volume they are those of its first plane, in which slices lie below each other.
    """
    columns: dict[str, list[str | None]] = {"picture": [None] * count, "map": [None] * count}
    for record in reversed(records):  # the map of the suggested class is the first one
        first = record.get("planes", [record])[0]
        for column, file in (("picture", first["image"]), ("map", first["map"])):
            columns[column][record["issue"]] = file and f"{folder.name}/{file}"
    return pd.DataFrame(columns)
