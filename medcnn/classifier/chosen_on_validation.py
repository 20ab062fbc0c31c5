"""Threshold and calibration: chosen on the validation split and kept in the checkpoint."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medcnn.classifier.checkpoint import read_checkpoint, save
from medcnn.classifier.classifier import CALIBRATIONS, Classifier
from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.evaluation.few_images import operating_point_lines
from medcnn.evaluation.operating_point import choose_threshold, parse_rule
from medcnn.evaluation.platt import apply_platt, fit_platt
from medcnn.evaluation.recalibration import fit_isotonic, fit_temperature
from medcnn.objective import Objective, known


def choose(
    objective: Objective,
    logits: Tensor,
    labels: Tensor,
    rule: str,
    class_names: Sequence[str],
    split: str = "val",
) -> dict[str, Any]:
    """Return threshold, temperature and isotonic calibration of the predictions of a split.

    Args:
        objective: Of the classifier.
        logits: (N, outputs) of the split's images.
        labels: (N,) or (N, K), unknown ones left out.
        rule: How the threshold is chosen, see `medcnn.evaluation.operating_point.parse_rule`.
        class_names: K names.
        split: Its name, for the record.

    Returns:
        Plain values: ``chosen_on``, ``n``, ``operating_point`` (rule, threshold, sensitivity,
        specificity; of several labels rule and ``labels``, the last three for each name, None for
        one that lacks a class that the rule needs; None of other tasks), ``temperature``,
        ``isotonic``, and ``reasons``: why one of them is None though the task could have it. Of a
        loss that learns margins ``platt`` comes first, by which their scores become the logits of
        all others.
    """
    there = known(labels)
    there = there if there.ndim == 1 else there.any(1)
    logits, labels = logits[there].double(), labels[there]
    found: dict[str, Any] = {"chosen_on": split, "n": len(labels), "reasons": {}}
    options: dict[str, Any] = {"task": objective.task, "positive": objective.positive}
    if objective.gives_margins:
        found["platt"] = fit_platt(logits.numpy(), labels.numpy(), **options)
        logits = apply_platt(logits, found["platt"])
    probs = objective.probs(logits).numpy()
    if objective.task == "ordinal":
        logits = objective.continuation_logits(logits)
    steps = {
        "operating_point": lambda: operating_point(
            objective, torch.from_numpy(probs), labels, rule, class_names
        ),
        "temperature": lambda: fit_temperature(logits.numpy(), labels.numpy(), **options),
        "isotonic": lambda: fit_isotonic(probs, labels.numpy(), **options),
    }
    for name, step in steps.items():
        found[name] = None
        if objective.task == "regression" or (
            name == "operating_point" and objective.task not in ("binary", "multilabel")
        ):
            continue
        try:
            found[name] = step()
        except UserError as error:
            found["reasons"][name] = str(error)
    return found


def operating_point(
    objective: Objective, probs: Tensor, labels: Tensor, rule: str, class_names: Sequence[str]
) -> dict[str, Any]:
    """Return the threshold of a binary task, or those of several labels; see `choose`.

    Raises:
        UserError: A rule that there is not, or no threshold can be chosen.
    """
    parse_rule(rule)
    if objective.task == "binary":
        return _point(probs[:, objective.positive], labels, objective.positive, rule)
    points: dict[str, dict[str, Any] | None] = {}
    reason = ""
    for name, scores, own in zip(class_names, probs.T, labels.T, strict=True):
        try:
            points[name] = {k: v for k, v in _point(scores, own, 1, rule).items() if k != "rule"}
        except UserError as error:
            points[name], reason = None, str(error)
    if not any(points.values()):
        raise UserError(reason)
    return {"rule": str(rule), "labels": points}


def _point(scores: Tensor, labels: Tensor, positive: int, rule: str) -> dict[str, Any]:
    """Return the threshold of one label, from scores (N,)."""
    there = known(labels)
    truth = (labels[there] == positive).numpy()
    return asdict(choose_threshold(scores[there].double().numpy(), truth, rule))


def choose_and_keep(
    checkpoint: Path, classifier: Classifier, samples: Samples, tested: dict[str, Tensor], rule: str
) -> list[str]:
    """`choose` on the validation split that was tested, for a classifier and its checkpoint.

    `tested` has ``row``, ``looks`` (L, n, outputs) and ``label`` of the validation and test split.
    The first look, at images as they are, gives what `choose` does; of several looks there is
    ``mirrored``, too: by calibration the operating point of the mean of their probabilities.

    Sentences about what was chosen on few images, or in the place of probabilities, come back.
    """
    chosen = (samples.table["split"] == "val").to_numpy()[tested["row"].numpy()]
    logits, labels = tested["looks"][0][chosen], tested["label"][chosen]
    names = classifier.card["class_names"]
    choices = choose(classifier.objective, logits, labels, rule, names)
    classifier.card["choices"] = choices
    point = choices["operating_point"]
    if len(tested["looks"]) > 1:
        choices["mirrored"] = _of_means(classifier, samples, tested, rule)
        point = choices["mirrored"]["none"]
    content = read_checkpoint(checkpoint)
    content["medcnn"]["choices"] = choices
    save(content, checkpoint)
    objective = classifier.objective
    lines = operating_point_lines(point, labels, objective.task, names, samples.units)
    if objective.gives_margins:
        lines.append(
            f"loss={objective.loss_name} learns no probabilities: they are its scores, "
            "Platt-scaled on the validation split"
        )
    return lines


def _of_means(
    classifier: Classifier, samples: Samples, tested: dict[str, Tensor], rule: str
) -> dict[str, dict[str, Any] | None]:
    """Return the operating point of the mean of all looks, by calibration that there is."""
    points: dict[str, dict[str, Any] | None] = {}
    for how in CALIBRATIONS:
        with suppress(UserError):  # it couldn't be fitted
            classifier.calibrate(how)
            probs = torch.stack([classifier.probs(logits) for logits in tested["looks"]]).mean(0)
            points[how] = chosen_anew(classifier, samples, tested | {"probs": probs}, rule)
    classifier.calibrate("none")
    return points


def chosen_anew(
    classifier: Classifier, samples: Samples, collected: dict[str, Tensor], rule: str
) -> dict[str, Any] | None:
    """Return the threshold of a mean of several looks, from its validation split, or None.

    `collected` has ``row``, ``label`` and ``probs``; of other data there is no validation split.
    """
    rows = (samples.table["split"] == "val").to_numpy()[collected["row"].numpy()]
    if not rows.any() or classifier.objective.task not in ("binary", "multilabel"):
        return None
    probs, labels = collected["probs"][rows], collected["label"][rows]
    with suppress(UserError):  # a class that the rule needs is absent
        names = classifier.card["class_names"]
        point = operating_point(classifier.objective, probs, labels, rule, names)
        return point | {"chosen_on": "val"}
    return None
