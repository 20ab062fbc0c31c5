"""From what a classifier said of the test images to the files and the line that report it."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from medcnn.classifier import Classifier
from medcnn.data.samples import Samples
from medcnn.files import write_csv, write_json
from medcnn.objective import Objective
from medcnn.rundir import RunDir

HEADLINE = ("auroc", "accuracy", "sensitivity", "specificity")


def write_results(
    run: RunDir, samples: Samples, classifier: Classifier, collected: dict[str, Tensor]
) -> dict[str, Any]:
    """Write ``predictions.csv`` and ``metrics.json``.

    Args:
        run: Where.
        samples: The data set that the rows belong to.
        classifier: Whose objective and class names make the figures.
        collected: `row` (n,), `logits` (n, outputs), `label` of the rows seen.

    Returns:
        ``{"split/metric": {"value", "low", "high", "n"}}`` for every split seen.
    """
    table = predictions_table(samples, classifier.objective, collected)
    write_csv(run / "predictions.csv", table)
    metrics: dict[str, Any] = {}
    for split in table["split"].unique():
        chosen = torch.tensor((table["split"] == split).tolist())
        part = {name: values[chosen] for name, values in collected.items()}
        loss = float(classifier.objective.loss(part["logits"], part["label"]))
        figures = classifier.figures(part)
        figures["loss"] = {"value": loss, "low": None, "high": None, "n": int(chosen.sum())}
        metrics |= {f"{split}/{name}": dict(figure) for name, figure in figures.items()}
    write_json(run / "metrics.json", metrics)
    return metrics


def predictions_table(
    samples: Samples, objective: Objective, collected: dict[str, Tensor]
) -> pd.DataFrame:
    """One row a sample: row, image, patient, split, label, ``prob:<class>`` …, decision.

    Label and decision are class names; in multi-label data ``label:<class>`` and
    ``decision:<class>`` are 0 or 1.
    """
    rows = collected["row"].numpy()
    table = samples.table.iloc[rows][["image", "patient", "split"]].reset_index(drop=True)
    table.insert(0, "row", rows)
    names = samples.class_names
    labels = named_classes("label", collected["label"], names)
    return pd.concat(
        [table, labels, decision_table(objective, objective.probs(collected["logits"]), names)],
        axis=1,
    )


def decision_table(objective: Objective, probs: Tensor, names: Sequence[str]) -> pd.DataFrame:
    """Columns ``prob:<class>`` and the decision of probabilities (n, K)."""
    shares = pd.DataFrame(probs.numpy(), columns=[f"prob:{name}" for name in names])
    return pd.concat([shares, named_classes("decision", objective.decide(probs), names)], axis=1)


def named_classes(column: str, classes: Tensor, names: Sequence[str]) -> pd.DataFrame:
    """Class indices (n,) as a column of names; (n, K) of 0 and 1 as a column a class."""
    if classes.ndim == 2:
        return pd.DataFrame(classes.numpy(), columns=[f"{column}:{name}" for name in names])
    return pd.DataFrame({column: [names[k] for k in classes.tolist()]})


def headline(metrics: dict[str, Any], split: str = "test") -> str:
    """``test AUROC 0.97, accuracy 0.91, sensitivity 0.90, specificity 0.95``."""
    words = []
    for name in HEADLINE:
        value = metrics.get(f"{split}/{name}", {}).get("value")
        shown = "undefined" if value is None else f"{value:.3f}"
        words.append(f"{'AUROC' if name == 'auroc' else name} {shown}")
    return f"{split} {', '.join(words)}"
