"""The whole measurement of a classifier's maps on a split: what is done, in which order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medcnn.cam.baselines import BASELINES
from medcnn.cam.maps import METHODS
from medcnn.data.phantom.dataset import MARKER_BOX
from medcnn.errors import UserError
from medcnn.evidence import measures
from medcnn.evidence.explainer import ORACLE, ClassifierMaps, Explainer
from medcnn.evidence.finished_parts import Parts
from medcnn.evidence.summary import Record, records

GROUPS = ("localisation", "reliance", "faithfulness", "sanity", "stability", "shortcut")
UNTUNED = 0.5  # the threshold where there is no lesion in the validation split to tune it on
SANITY_IMAGES, TUNING_IMAGES = 16, 100  # at most, spread over the classes


@dataclass
class Job:
    """What to measure, and on what.

    Args:
        explainer: The classifier and its data.
        split: train, val or test.
        methods: Of `METHODS`.
        groups: Of `GROUPS`.
        limit: Images with a lesion that are scored at most, spread over the classes; None: all.
        sample: Images for the costly groups (faithfulness, stability).
        batch_size: Images at a time.
        others: The same net from other training seeds.
        relabelled: The same net, trained on shuffled labels.
        parts: Where finished parts are kept.
        tick: Called after each part with its name.

    `notes` are sentences about what was found on the way.
    """

    explainer: Explainer
    split: str
    methods: Sequence[str]
    groups: Sequence[str]
    limit: int | None
    sample: int
    batch_size: int
    others: Sequence[Explainer]
    relabelled: Explainer | None
    parts: Parts
    tick: Callable[[str], None] = lambda name: None
    notes: list[str] = field(default_factory=list)

    def tables(self) -> Iterator[tuple[str, str | None, pd.DataFrame]]:
        """Group, method, and one row an image."""
        for group, method, rows in self.steps:
            options: dict[str, Any] = {} if method is None else {"method": method}
            if group == "localisation":
                options["threshold"] = self._threshold(str(method))
            elif group == "stability":
                options["others"] = self.others
            elif group == "sanity":
                options["relabelled"] = self.relabelled
            yield group, method, self._run(group, rows, **options)

    @property
    def size(self) -> int:
        """How many parts there are."""
        tuned = len(self._tuning.split(self.batch_size)) if len(self._tuning) else 0
        parts = [len(rows.split(self.batch_size)) for _, _, rows in self.steps]
        return sum(parts) + tuned * sum(group == "localisation" for group, _, _ in self.steps)

    @cached_property
    def steps(self) -> list[tuple[str, str | None, Tensor]]:
        """Group, method and rows of each table, in the order in which they are made."""
        explainer = self.explainer
        lesions = explainer.rows_with_lesion(self.split, self.batch_size)
        lesions = lesions if self.limit is None else self._at_most(lesions, self.limit)
        sampled = self._at_most(explainer.samples.rows(self.split), self.sample)
        few = self._at_most(sampled, min(self.sample, SANITY_IMAGES))
        known = (*self.methods, *BASELINES)
        plan: dict[str, tuple[Sequence[str | None], Tensor]] = {
            "localisation": ((*known, ORACLE), lesions),
            "reliance": ((None,), lesions),
            "faithfulness": (known, sampled),
            "stability": (self.methods, sampled),
            "sanity": (self.methods, few),
            "shortcut": (known, self._with_marker()),
        }
        if explainer.samples.task == "regression":  # which has no probabilities
            del plan["reliance"], plan["faithfulness"]
        if explainer.samples.task == "multilabel":  # which has no one decision
            del plan["reliance"]
        return [
            (group, method, rows)
            for group, (methods, rows) in plan.items()
            for method in methods
            if group in self.groups and len(rows)
        ]

    @property
    def left_out(self) -> list[str]:
        """A sentence for each group that was asked for and can't be had, and why."""
        samples, made = self.explainer.samples, {group for group, _, _ in self.steps}
        lesion = "no lesion is known in this split"
        if samples.task == "multilabel" and samples.masks is not None:
            lesion = (
                "of several labels an image, a mask doesn't say whose it is (name one a label, "
                "dataset.columns.mask=[…])"
            )
        probs = "a regression has no probabilities"
        reasons = {
            "localisation": lesion,
            "reliance": {
                "regression": probs,
                "multilabel": "of several labels an image there is no one decision",
            }.get(samples.task, lesion),
            "faithfulness": probs,
        }
        gone = [group for group in reasons if group in self.groups and group not in made]
        return [f"{group} left out: {reasons[group]}" for group in gone]

    @cached_property
    def _tuning(self) -> Tensor:
        rows = self.explainer.rows_with_lesion("val", self.batch_size)
        return self._at_most(rows, max(self.sample, TUNING_IMAGES))

    def _run(self, group: str, rows: Tensor, **options: Any) -> pd.DataFrame:
        """One table of a group's measure over all rows, part by part."""
        name = f"{group}-{options['method']}" if "method" in options else group
        measure = partial(getattr(measures, group), self.explainer, **options)
        found = []
        for k, part in enumerate(rows.split(self.batch_size)):
            found.append(self.parts.table(f"{name}-{k}", partial(self._part, measure, part)))
            self.tick(name)
        return pd.concat(found, ignore_index=True)

    def _part(self, measure: Callable[..., pd.DataFrame], rows: Tensor) -> pd.DataFrame:
        return measure(batch=self.explainer.batch(rows))

    def _threshold(self, method: str) -> float:
        """The share of a map's maximum with the highest mean IoU on the validation split."""
        if len(self._tuning) == 0:
            note = f"no lesion in the validation split to tune on: a threshold of {UNTUNED}"
            self.notes += [note] if note not in self.notes else []
            return UNTUNED
        table = self._run("tuning", self._tuning, method=method)
        means = table.drop(columns="row").mean()
        return float(str(means.idxmax()).removeprefix("iou_at_"))

    def _at_most(self, rows: Tensor, n: int) -> Tensor:
        """So many of the rows, spread over the classes, in the table's order."""
        if len(rows) <= n:
            return rows
        return self.explainer.samples.spread(rows, n).sort().values

    def _with_marker(self) -> Tensor:
        """Rows whose image shows the phantom's marker."""
        samples = self.explainer.samples
        rows = samples.rows(self.split)
        if not set(MARKER_BOX) <= set(samples.table.columns):
            return rows[:0]
        boxes = samples.table[list(MARKER_BOX)].to_numpy()[rows.numpy()]
        return rows[torch.from_numpy(boxes[:, 2] > boxes[:, 0])]

    def of_rows(self, column: pd.Series) -> tuple[np.ndarray, np.ndarray | None]:
        """Patients of rows, and the names of their true classes where there is one for each."""
        samples = self.explainer.samples
        rows = column.to_numpy(int)
        patients = samples.table["patient"].to_numpy()[rows]
        if samples.task in ("regression", "multilabel"):
            return patients, None
        names = np.array([*samples.class_names, "unknown"])
        return patients, names[samples.labels.numpy()[rows]]


def measured(jobs: Sequence[Job]) -> tuple[pd.DataFrame, list[Record]]:
    """All scores image by image, and their means with intervals over patients.

    Args:
        jobs: One; or of a cross-validation one a fold, whose images are pooled.
    """
    made: dict[tuple[str, str | None], list[pd.DataFrame]] = {}
    for job in jobs:  # a fold may lack what a group needs, such as lesions
        for group, method, part in job.tables():
            made.setdefault((group, method), []).append(part)
    tables, found = [], []
    for (group, method), parts in made.items():
        table = pd.concat(parts, ignore_index=True)
        found += records(table, group, method, *jobs[0].of_rows(table["row"]))
        shown = table.drop(columns="candidates", errors="ignore")
        shown.insert(1, "group", group)
        shown.insert(2, "method", method)
        tables.append(shown)
    if not tables:
        return pd.DataFrame({"row": []}), []
    return pd.concat(tables, ignore_index=True), found


def methods_of(explainer: ClassifierMaps, given: Any) -> tuple[list[str], list[str]]:
    """The methods asked for, and a sentence for each that the net can't have.

    Args:
        explainer: Of the net.
        given: all, one name, or a list of names.

    Raises:
        UserError: An unknown method; or one that was asked for by name and doesn't fit the net.
    """
    if given != "all":
        asked = [given] if isinstance(given, str) else list(given)
        if not asked:
            raise UserError(f"methods=[]: name at least one of {', '.join(METHODS)}")
        for method in asked:
            explainer.check(method)
        return asked, []
    fitting, notes = [], []
    for method in METHODS:
        try:
            explainer.check(method)
            fitting.append(method)
        except UserError as error:
            notes.append(f"left out: {error}")
    return fitting, notes
