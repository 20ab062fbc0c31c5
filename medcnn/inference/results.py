"""From the answers on test images to the files, and the line, that report them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from medcnn.classifier.classifier import Classifier
from medcnn.data.samples import Samples
from medcnn.evaluation import Figure
from medcnn.evaluation.few_images import one_class_lines
from medcnn.evaluation.of_tables import analysis_of, flat, split_figures
from medcnn.inference.tables import predictions_table, studies_table
from medcnn.jobs.atomic_files import write_csv, write_json
from medcnn.jobs.notes import note
from medcnn.jobs.progress import saying
from medcnn.jobs.rundir import RunDir
from medcnn.objective import Objective, known

HEADLINE = ("auroc", "accuracy", "sensitivity", "specificity")
REGRESSION_HEADLINE = ("r2", "mae", "rmse")
TITLES = {"auroc": "AUROC", "r2": "R²", "mae": "MAE", "rmse": "RMSE"}


@saying("figures and their intervals")
def write_results(
    run: RunDir,
    samples: Samples,
    classifier: Classifier,
    collected: dict[str, Tensor],
    aggregate: str = "mean",
    *,
    split: str = "test",
    evaluation: Mapping[str, Any] | None = None,
    calibration: str | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Write ``predictions.csv``, ``evaluation.json`` and ``metrics.json``.

    Of volumes that are seen slice by slice also ``predictions_study.csv``; of a network that takes
    studies together ``predictions.csv`` has a row a study. These hold what was tested; of another
    split that was seen, too, it is ``predictions_val.csv``.

    Args:
        run: Where.
        samples: The data set that the rows belong to; a column ``study`` joins slices.
        classifier: Whose objective, class names and operating point make the figures.
        collected: Of `medcnn.inference.tta.collect`.
        aggregate: Slices to studies: mean, max or noisy-or (`medcnn.evaluation.studies`).
        split: What is tested: whose figures have intervals and are analysed.
        evaluation: The config group of that name; None for its defaults.
        calibration: What the probabilities went through; None for the classifier's own.
        notes: Sentences that a reader of the figures has to know.

    Returns:
        ``{"split/metric": {"value", "low", "high", "n"}}`` for every split seen, and for the one
        that is analysed ``split/clinic/metric`` at the operating point (of several labels also
        ``split/clinic/metric/label``), ``split/study/metric`` and
        ``split/patient/metric``.

    Raises:
        UserError: Slices of one study with different labels, or an aggregation that doesn't fit.
    """
    objective, point = classifier.objective, classifier.operating_point
    table = predictions_table(samples, objective, collected, point)
    finest = "image" if samples.studies is None else "study"
    levels = {finest: table}
    if finest == "image" and "study" in samples.table:
        levels["study"] = studies_table(samples, objective, collected, aggregate, point)
    for level, whole in levels.items():
        for name, rows in whole.groupby("split", sort=False):
            whose = "image" if level == finest else level
            write_csv(run / table_file(whose, None if name == split else str(name)), rows)
    for line in (alone := one_class_lines(table[table["split"] == split])):
        note(line)
    metrics: dict[str, Any] = {}
    for name in table["split"].unique():
        if name != split:
            metrics |= split_figures(levels, classifier.card, name)
    content = analysis_of(
        levels,
        samples.table,
        classifier.card,
        split,
        aggregate,
        evaluation,
        point=point,
        calibration=calibration or classifier.calibration,
        data=samples.name,
        notes=[*notes, *alone],
    )
    write_json(run / "evaluation.json", content)
    metrics |= flat(content)
    for name in table["split"].unique():
        chosen = torch.tensor((table["split"] == name).tolist())
        part = {key: values[chosen] for key, values in collected.items() if key != "views"}
        metrics[f"{name}/loss"] = _loss(objective, part)
    write_json(run / "metrics.json", metrics)
    return metrics


def table_file(level: str = "image", other: str | None = None) -> str:
    """Return the file of a run's predictions: of images or studies, tested or of another split.

    >>> table_file(), table_file("study", "val")
    ('predictions.csv', 'predictions_study_val.csv')
    """
    parts = ["predictions", level if level != "image" else None, other]
    return f"{'_'.join(filter(None, parts))}.csv"


def _loss(objective: Objective, part: dict[str, Tensor]) -> Figure:
    """Return the mean loss; None where no label is known."""
    n = int(known(part["label"]).reshape(len(part["label"]), -1).any(1).sum())
    there = n > 0 and "logits" in part  # several views have no common logits
    value = objective.loss(part["logits"], part["label"]).item() if there else None
    return {"value": value, "low": None, "high": None, "n": n}


def headline(metrics: Mapping[str, Any], split: str = "test") -> str:
    """Return ``test AUROC 0.97, accuracy 0.91, sensitivity 0.90, specificity 0.95``.

    Of a regression it is ``test R² 0.82, MAE 4.1, RMSE 5.3``.
    """
    words = []
    for name in REGRESSION_HEADLINE if f"{split}/r2" in metrics else HEADLINE:
        value = metrics.get(f"{split}/{name}", {}).get("value")
        shown = "undefined" if value is None else f"{value:.{'3f' if abs(value) < 1e5 else '3g'}}"
        words.append(f"{TITLES.get(name, name)} {shown}")
    return f"{split} {', '.join(words)}"
