"""What is chosen on the validation split and kept in the checkpoint: threshold and calibration."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medcnn.checkpoint import read_checkpoint
from medcnn.classifier import Classifier
from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.evaluation.operating import choose_threshold, parse_rule
from medcnn.evaluation.recalibration import fit_isotonic, fit_temperature
from medcnn.files import replacing
from medcnn.objective import Objective, known
from medcnn.rundir import RunDir


def choose(
    objective: Objective, logits: Tensor, labels: Tensor, rule: str, split: str = "val"
) -> dict[str, Any]:
    """Threshold, temperature and isotonic calibration of the predictions of a split.

    Args:
        objective: Of the classifier.
        logits: (N, outputs) of the split's images.
        labels: (N,) or (N, K), unknown ones left out.
        rule: How the threshold is chosen, see `medcnn.evaluation.operating.parse_rule`.
        split: Its name, for the record.

    Returns:
        Plain values: ``chosen_on``, ``n``, ``operating_point`` (rule, threshold, sensitivity,
        specificity; None unless the task is binary), ``temperature``, ``isotonic``, and
        ``reasons``: why one of them is None though the task could have it.
    """
    there = known(labels)
    there = there if there.ndim == 1 else there.any(1)
    logits, labels = logits[there].float(), labels[there]
    found: dict[str, Any] = {"chosen_on": split, "n": len(labels), "reasons": {}}
    probs = objective.probs(logits).numpy()
    options: dict[str, Any] = {"task": objective.task, "positive": objective.positive}
    steps = {
        "operating_point": lambda: operating_point(
            objective, torch.from_numpy(probs), labels, rule
        ),
        "temperature": lambda: fit_temperature(logits.numpy(), labels.numpy(), **options),
        "isotonic": lambda: fit_isotonic(probs, labels.numpy(), **options),
    }
    for name, step in steps.items():
        found[name] = None
        if objective.task == "regression" or (
            name == "operating_point" and objective.task != "binary"
        ):
            continue
        try:
            found[name] = step()
        except UserError as error:
            found["reasons"][name] = str(error)
    return found


def operating_point(
    objective: Objective, probs: Tensor, labels: Tensor, rule: str
) -> dict[str, Any] | None:
    """The threshold of a binary task, from probabilities (N, 2); None where it can't be chosen.

    Raises:
        UserError: A rule that there is not.
    """
    parse_rule(rule)
    k = objective.positive
    there = known(labels)
    truth = (labels[there] == k).numpy()
    try:
        point = choose_threshold(probs[there][:, k].double().numpy(), truth, rule)
    except UserError:
        return None
    return asdict(point)


def choose_and_keep(run: RunDir, classifier: Classifier, samples: Samples, rule: str) -> None:
    """`choose` on the validation split that was tested; into the classifier and its checkpoint."""
    tested = classifier.tested
    splits = samples.table["split"].to_numpy()[tested["row"].numpy()]
    chosen = torch.from_numpy(splits == "val")
    choices = choose(classifier.objective, tested["logits"][chosen], tested["label"][chosen], rule)
    classifier.card["choices"] = choices
    keep(run.best if run.best.exists() else run.last, choices)


def keep(path: Path, choices: dict[str, Any]) -> None:
    """Put choices into a checkpoint, which is whole at any time."""
    content = read_checkpoint(path)
    content["medcnn"]["choices"] = choices
    with replacing(path) as new:
        torch.save(content, new)
