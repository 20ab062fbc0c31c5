"""The scores of a classifier's maps, table by table; finished parts are kept."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from medcnn.data.samples import Samples
from medcnn.evidence import image_measures, measures
from medcnn.evidence.explainer import Explainer
from medcnn.evidence.finished_parts import Parts
from medcnn.evidence.plan import Plan
from medcnn.evidence.summary import Record, records

UNTUNED = 0.5  # the threshold where there is no lesion in the validation split to tune it on
Table = tuple[str, str | None]  # group and method
Tick = Callable[[str], None]  # called after each part with its name


@dataclass(frozen=True)
class Job:
    """The measurement of one classifier."""

    explainer: Explainer
    plan: Plan
    batch_size: int
    parts: Parts  # where finished parts are kept
    others: Sequence[Explainer] = ()  # the same net from other training seeds
    relabelled: Explainer | None = None  # the same net, trained on shuffled labels


def measured(
    jobs: Sequence[Job], tick: Tick = lambda name: None
) -> tuple[pd.DataFrame, list[Record]]:
    """Return all scores image by image, and their means with intervals over patients.

    Of a cross-validation there is a job a fold, and their images are pooled.
    """
    made: dict[Table, list[pd.DataFrame]] = {}
    for job in jobs:
        for key, part in _tables(job, tick):
            made.setdefault(key, []).append(part)
    return pooled(made, jobs[0].explainer.samples)


def pooled(
    made: Mapping[Table, Sequence[pd.DataFrame]], samples: Samples
) -> tuple[pd.DataFrame, list[Record]]:
    """Return the scores of all folds as `measured` does.

    Of each group and method there are the tables of the folds that have it: one may lack what a
    group needs, such as lesions.
    """
    tables, found = [], []
    for (group, method), parts in made.items():
        table = pd.concat(parts, ignore_index=True)
        found += records(table, group, method, *_of_rows(samples, table["row"]))
        shown = table.drop(columns="candidates", errors="ignore")
        shown.insert(1, "group", group)
        shown.insert(2, "method", method)
        tables.append(shown)
    if not tables:
        return pd.DataFrame({"row": []}), []
    return pd.concat(tables, ignore_index=True), found


def count_parts(job: Job) -> int:
    """Return how many parts a job has."""
    size, plan = job.batch_size, job.plan
    tuned = len(plan.tuning.split(size)) if len(plan.tuning) else 0
    return sum(
        len(rows.split(size)) + tuned * (group == "localisation") for group, _, rows in plan.steps
    )


def _tables(job: Job, tick: Tick) -> Iterator[tuple[Table, pd.DataFrame]]:
    """Group and method, and one row an image."""
    for group, method, rows in job.plan.steps:
        options: dict[str, Any] = {} if method is None else {"method": method}
        if group == "localisation":
            options["threshold"] = _threshold(job, str(method), tick)
        elif group == "stability":
            options["others"] = job.others
        elif group == "sanity":
            options["relabelled"] = job.relabelled
        yield (group, method), _table(job, tick, group, rows, **options)


def _table(job: Job, tick: Tick, group: str, rows: Tensor, **options: Any) -> pd.DataFrame:
    """Return one table of a group's measure over all rows, made part by part."""
    name = f"{group}-{options['method']}" if "method" in options else group
    of_images = hasattr(image_measures, group)
    measure: Callable[..., pd.DataFrame]
    measure = getattr(image_measures if of_images else measures, group)
    found = []
    for k, part in enumerate(rows.split(job.batch_size)):
        make = partial(_of_part, measure, job.explainer, part, **options)
        found.append(job.parts.table(f"{name}-{k}", make))
        tick(name)
    return pd.concat(found, ignore_index=True)


def _of_part(
    measure: Callable[..., pd.DataFrame], explainer: Explainer, rows: Tensor, **options: Any
) -> pd.DataFrame:
    return measure(explainer, batch=explainer.batch(rows), **options)


def _threshold(job: Job, method: str, tick: Tick) -> float:
    """Return the share of a map's maximum with the highest mean IoU on the validation split."""
    if len(job.plan.tuning) == 0:
        return UNTUNED
    table = _table(job, tick, "tuning", job.plan.tuning, method=method)
    means = table.drop(columns="row").mean()
    return float(str(means.idxmax()).removeprefix("iou_at_"))


def _of_rows(samples: Samples, column: pd.Series) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the patients of rows, and their true classes by name where each has one."""
    rows = column.to_numpy(int)
    patients = samples.table["patient"].to_numpy()[rows]
    if samples.task in ("regression", "multilabel"):
        return patients, None
    names = np.array([*samples.class_names, "unknown"])
    return patients, names[samples.labels.numpy()[rows]]
