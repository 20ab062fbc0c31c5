"""The plan of a measurement: scores of a classifier's maps on a split, and their images."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from medcnn.cam.baselines import BASELINES
from medcnn.cam.maps import METHODS
from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.evidence.channels import channel_groups
from medcnn.evidence.explainer import ORACLE, ClassifierMaps, Explainer
from medcnn.evidence.studies import MIDDLE, rows_with_some_lesion, sources_of

GROUPS = (
    *("localisation", "reliance", "faithfulness", "sanity", "stability", "shortcut"),
    *("views", "channels"),
)
LACKING = {  # by task, why a group of scores means nothing
    "multilabel": {"reliance": "of several labels an image there is no one decision"},
    "regression": dict.fromkeys(("reliance", "faithfulness"), "a regression has no probabilities"),
}
OF_IMAGES = ("localisation", "faithfulness", "sanity")
"""Groups that a classifier of studies has of images instead of pixels."""
SANITY_IMAGES, TUNING_IMAGES = 16, 100  # at most, spread over the classes


@dataclass(frozen=True)
class Plan:
    """The tables that are made."""

    steps: list[tuple[str, str | None, Tensor]]  # group, method (None of the decision alone), rows
    tuning: Tensor  # rows (n,) on which the thresholds of localisation are chosen
    left_out: list[str]  # a sentence for each group that was asked for and can't be had

    @property
    def untuned(self) -> bool:
        """True if localisation goes without a threshold of its own."""
        return not len(self.tuning) and any(group == "localisation" for group, _, _ in self.steps)


def make_plan(
    explainer: Explainer,
    split: str,
    methods: Sequence[str],
    groups: Collection[str] | Literal["all"],
    *,
    limit: int | None,
    sample: int,
    batch_size: int,
) -> Plan:
    """Return the plan of a measurement.

    Args:
        explainer: The classifier and its data.
        split: train, val or test.
        methods: Of `METHODS`.
        groups: Of `GROUPS`, or all; of studies some are of their images, named ``image_…``.
        limit: Images with a lesion that are scored at most, spread over the classes; None: all.
        sample: Images for the costly groups (faithfulness, stability).
        batch_size: Images at a time.
    """
    samples, rows, known = explainer.samples, explainer.samples.rows(split), (*methods, *BASELINES)
    with_lesion = rows_with_some_lesion if explainer.of_studies else Explainer.rows_with_lesion
    lesions = with_lesion(explainer, split, batch_size)
    lesions = lesions if limit is None else _at_most(samples, lesions, limit)
    sampled = _at_most(samples, rows, sample)
    whole: dict[str, tuple[Sequence[str | None], Tensor]] = {
        "localisation": ((*known, ORACLE), lesions),
        "reliance": ((None,), lesions),
        "faithfulness": (known, sampled),
        "stability": (methods, sampled),
        "sanity": (methods, _at_most(samples, sampled, min(sample, SANITY_IMAGES))),
        "shortcut": (known, _with_marker(samples, rows)),
        "channels": (_channels(explainer), sampled),
    }
    if explainer.of_studies:
        of_images = sources_of(explainer, methods)
        whole |= {
            "localisation": ((*of_images, MIDDLE), lesions),
            "faithfulness": (of_images, sampled),
            "sanity": (of_images, whole["sanity"][1]),
            "views": (_views(samples), sampled),
        }
    asked = set(GROUPS if groups == "all" else groups)
    possible = asked - set(_lacking(explainer))
    made = [g for g in whole if g in possible and len(whole[g][0]) and len(whole[g][1])]
    prefix = {g: f"image_{g}" for g in OF_IMAGES} if explainer.of_studies else {}
    steps = [(prefix.get(g, g), method, whole[g][1]) for g in made for method in whole[g][0]]
    tuned = "localisation" in made and not explainer.of_studies
    tuning = explainer.rows_with_lesion("val", batch_size) if tuned else rows[:0]
    tuning = _at_most(samples, tuning, max(sample, TUNING_IMAGES))
    return Plan(steps, tuning, _left_out(explainer, asked - set(made)))


def _channels(explainer: Explainer) -> list[str]:
    """Return the names of the channels, if there are several that can be compared."""
    names = list(channel_groups(explainer.classifier.card))
    return names if len(names) > 1 else []


def _views(samples: Samples) -> tuple[str, ...]:
    """Return the names of the views, if there are several."""
    names = () if samples.studies is None else samples.studies.view_names
    return names if len(names) > 1 else ()


def _lacking(explainer: Explainer) -> dict[str, str]:
    """Return the groups of scores that mean nothing of a classifier, and why."""
    if not explainer.of_studies:
        return LACKING.get(explainer.samples.task, {})
    shortcut = () if explainer.samples.markers is None else ("shortcut",)
    return dict.fromkeys(("reliance", "stability", *shortcut), "it is of images one by one")


def _left_out(explainer: Explainer, groups: Collection[str]) -> list[str]:
    """Return why groups of scores can't be had, a sentence each."""
    samples = explainer.samples
    lesion = "no lesion is known in this split"
    if explainer.of_studies:
        lesion = "in no study of this split do some images show a known lesion, and some not"
    if samples.task == "multilabel" and samples.masks is not None:
        lesion = (
            "of several labels an image, a mask doesn't say whose it is (name one a label, "
            "dataset.columns.mask=[…])"
        )
    reasons = {"localisation": lesion, "reliance": lesion} | _lacking(explainer)
    return [f"{group} left out: {reasons[group]}" for group in reasons if group in groups]


def _at_most(samples: Samples, rows: Tensor, n: int) -> Tensor:
    """Return so many of the rows, spread over the classes, in the table's order."""
    return rows if len(rows) <= n else samples.spread(rows, n).sort().values


def _with_marker(samples: Samples, rows: Tensor) -> Tensor:
    """Return those rows whose image shows a marker."""
    if samples.markers is None:
        return rows[:0]
    top, _, bottom, _ = samples.markers[rows].unbind(1)
    return rows[bottom > top]


def methods_of(
    explainer: ClassifierMaps, asked: Sequence[str] | Literal["all"]
) -> tuple[list[str], list[str]]:
    """Return the methods asked for, and a sentence for each of all that the net can't have.

    Raises:
        UserError: No method, or one that was asked for by name and doesn't fit the net.
    """
    if not asked:
        raise UserError(f"methods=[]: name at least one of {', '.join(METHODS)}")
    if asked != "all":
        for method in asked:
            explainer.check(method)
        return list(asked), []
    fitting, notes = [], []
    for method in METHODS:
        try:
            explainer.check(method)
            fitting.append(method)
        except UserError as error:
            notes.append(f"left out: {error}")
    return fitting, notes
