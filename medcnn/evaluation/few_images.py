"""Numbers of images that are too few for a choice to rest on, and the lines that say so."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from torch import Tensor

from medcnn.evaluation.operating_point import parse_rule
from medcnn.objective import Task, known

FOR_EPOCHS = 5  # images of a class below which its AUROC chooses no epoch
FOR_CHOICES = 10  # likewise below which a line says what is uncertain
FOR_ISOTONIC = 100  # images, of which an isotonic curve makes few steps


def rare(labels: Tensor, task: Task, class_names: Sequence[str], least: int) -> dict[str, int]:
    """Return the numbers of images of the classes that have fewer than `least`, by name.

    Of labels (N,), or (N, K) with K names; unknown ones don't count. Of several labels it is the
    number of images with the label or without it, whichever are fewer; in regression that of known
    values.
    """
    counts = {}
    for k, name in enumerate(class_names):
        own = labels[:, k] if labels.ndim == 2 else labels
        own = own[known(own)]
        if task == "regression":
            counts[name] = len(own)
        elif task == "multilabel":
            counts[name] = min(int((own == 1).sum()), int((own == 0).sum()))
        else:
            counts[name] = int((own == k).sum())
    return {name: count for name, count in counts.items() if count < least}


def too_rare_to_rank(labels: Tensor, task: Task, class_names: Sequence[str]) -> set[str]:
    """Return classes whose AUROC, or targets whose R², is of too few images to choose an epoch."""
    few = set(rare(labels, task, class_names, FOR_EPOCHS))
    return set(class_names) if few and task == "binary" else few


def validation_lines(
    labels: Tensor, task: Task, class_names: Sequence[str], unit: str = "images"
) -> list[str]:
    """Return the line, before a training, on what its validation images are too few for.

    `unit` is what a label belongs to: images, or studies.
    """
    few = rare(labels, task, class_names, FOR_CHOICES)
    if not few or task == "regression":
        return []
    shown = ", ".join(f"{count} of {name}" for name, count in list(few.items())[:5])
    more = f" and {len(few) - 5} more classes" if len(few) > 5 else ""
    what = "what is chosen on them (epoch, threshold, calibration) is uncertain"
    if too_rare_to_rank(labels, task, class_names) >= set(class_names):
        what += "; the best epoch is that of the lowest loss, not of the highest AUROC"
    return [
        f"the validation split has few {unit} ({shown}{more}): {what}; more of them would help "
        "(splits.shares.val)"
    ]


def operating_point_lines(
    point: Mapping[str, Any] | None,
    labels: Tensor,
    task: Task,
    class_names: Sequence[str],
    units: tuple[str, str] = ("image", "images"),
) -> list[str]:
    """Return the line on thresholds that rest on few images.

    Args:
        point: As `medcnn.classifier.chosen_on_validation.operating_point` gives it; None for none.
        labels: On which it was chosen; these and the rest as in `rare`.
        task: One of `medcnn.objective.TASKS`.
        class_names: K names.
        units: What a label belongs to, one and several: image, or study.
    """
    if point is None or parse_rule(point["rule"]).kind == "threshold":
        return []
    few = rare(labels, task, class_names, FOR_CHOICES)
    chosen = point.get("labels")
    few = {name: n for name, n in few.items() if chosen is None or chosen.get(name)}
    if not few:
        return []
    shown = ", ".join(
        f"{count} {units[count != 1]} of {name}" for name, count in list(few.items())[:5]
    )
    side = "" if task == "binary" else ", or as few without"
    return [
        f"The threshold ({point['rule']}) rests on {shown}{side}: on other {units[1]} its "
        "sensitivity and specificity may differ much."
    ]


def isotonic_lines(choices: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the line on an isotonic calibration that was fitted on few images.

    Of an ensemble the member with the fewest counts.
    """
    count = min(one.get("n", FOR_ISOTONIC) for one in choices)
    if count >= FOR_ISOTONIC:
        return []
    member = "" if len(choices) == 1 else " of a member"
    return [
        f"The isotonic calibration{member} was fitted on {count} images; below {FOR_ISOTONIC} "
        "calibration=temperature is safer."
    ]


def one_class_lines(table: pd.DataFrame) -> list[str]:
    """Return the line on one class alone being called, where images of several were tested."""
    if not {"label", "decision"} <= set(table):
        return []
    labels = set(table["label"].dropna()) - {""}
    called = set(table["decision"].dropna())
    if len(called) != 1 or len(labels) < 2:
        return []
    return [
        f"All {len(table)} images are called {called.pop()}: at this threshold the net tells "
        "nothing apart."
    ]
