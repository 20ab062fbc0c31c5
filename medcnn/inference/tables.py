"""From what a classifier said of the test images to the files and the line that report it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medcnn.classifier.classifier import Classifier
from medcnn.data.samples import Samples
from medcnn.evaluation import Figure
from medcnn.evaluation.few_images import one_class_lines
from medcnn.evaluation.of_tables import analysis_of, flat, split_figures
from medcnn.evaluation.operating_point import thresholds_of
from medcnn.evaluation.selective import mutual_information, predictive_entropy
from medcnn.evaluation.studies import aggregate as aggregate_slices
from medcnn.evaluation.studies import check_aggregation, study_labels
from medcnn.jobs.atomic_files import write_csv, write_json
from medcnn.jobs.notes import note
from medcnn.jobs.progress import saying
from medcnn.jobs.rundir import RunDir
from medcnn.objective import UNKNOWN, Objective, Task, known

HEADLINE = ("auroc", "accuracy", "sensitivity", "specificity")
REGRESSION_HEADLINE = ("r2", "mae", "rmse")
TITLES = {"auroc": "AUROC", "r2": "R²", "mae": "MAE", "rmse": "RMSE"}
STUDY = ["split", "patient", "study"]  # what the slices of a volume have in common


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

    Of volumes that are seen slice by slice also ``predictions_study.csv``. These hold what was
    tested; of another split that was seen, too, it is ``predictions_val.csv``.

    Args:
        run: Where.
        samples: The data set that the rows belong to; a column ``study`` joins slices.
        classifier: Whose objective, class names and operating point make the figures.
        collected: `row` (n,), `label` and `probs` (n, K) of the rows seen, or `logits` (n, outputs)
            in the place of probabilities; of several views (`medcnn.inference.tta`) also `views`.
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
    if "probs" not in collected:
        collected = collected | {"probs": classifier.probs(collected["logits"])}
    objective, point = classifier.objective, classifier.operating_point
    table = predictions_table(samples, objective, collected, point)
    levels = {"image": table}
    if "study" in samples.table:
        levels["study"] = studies_table(samples, objective, collected, aggregate, point)
    for level, whole in levels.items():
        for name, rows in whole.groupby("split", sort=False):
            write_csv(run / table_file(level, None if name == split else str(name)), rows)
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
    """The mean loss; None where no label is known."""
    n = int(known(part["label"]).reshape(len(part["label"]), -1).any(1).sum())
    there = n > 0 and "logits" in part  # several views have no common logits
    value = float(objective.loss(part["logits"], part["label"])) if there else None
    return {"value": value, "low": None, "high": None, "n": n}


def predictions_table(
    samples: Samples,
    objective: Objective,
    collected: dict[str, Tensor],
    point: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """One row a sample: row, image, patient, split, label, ``prob:<class>`` …, decision.

    An operating point makes the decisions, and adds ``threshold``, of the probability of the
    positive class (of several labels ``threshold:<class>``, empty where there is none and 0.5
    counts); several views add ``entropy`` and ``mutual_information`` (natural log) of their
    probabilities.

    Label and decision are class names; in multi-label data ``label:<class>`` and
    ``decision:<class>`` are 0 or 1. In regression there are ``label`` and ``prediction``, or with
    several targets ``label:<target>`` and ``prediction:<target>``. An unknown label is empty.
    """
    rows = collected["row"].numpy()
    table = samples.table.iloc[rows][["image", "patient", "split"]].reset_index(drop=True)
    table.insert(0, "row", rows)
    names = samples.class_names
    labels = named_columns("label", collected["label"], names)
    probs = _probs(objective, collected)
    parts = [table, labels, decision_table(objective, probs, names, point)]
    if "views" in collected and objective.task not in ("multilabel", "regression"):
        views = collected["views"].double().numpy()
        doubt = {
            "entropy": predictive_entropy(views.mean(0)),
            "mutual_information": mutual_information(views),
        }
        parts.append(pd.DataFrame(doubt))
    return pd.concat(parts, axis=1)


def _probs(objective: Objective, collected: dict[str, Tensor]) -> Tensor:
    """Probabilities (n, K): those that were collected, else those of the logits."""
    found = collected.get("probs")
    return objective.probs(collected["logits"].double()) if found is None else found


def studies_table(
    samples: Samples,
    objective: Objective,
    collected: dict[str, Tensor],
    aggregate: str,
    point: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """One row a study: study, patient, split, then as in `predictions_table`, and slices.

    The last is the number of slices that the row rests on. An image without a study is one by
    itself; the same study of two patients is two.
    """
    table = samples.table.iloc[collected["row"].numpy()]
    studies, first = _studies(table)
    facts = table[["study", "patient", "split"]].iloc[first].reset_index(drop=True)
    labels = study_labels(collected["label"].numpy(), studies, facts["study"].tolist())
    probs = aggregate_slices(
        _probs(objective, collected).numpy(),
        studies,
        aggregate,
        task=objective.task,
        positive=objective.positive,
    )
    names = samples.class_names
    parts = [
        facts,
        named_columns("label", torch.from_numpy(labels), names),
        decision_table(objective, torch.from_numpy(probs), names, point),
        pd.DataFrame({"slices": np.bincount(studies)}),
    ]
    return pd.concat(parts, axis=1)


def check_studies(samples: Samples, aggregate: str, task: Task) -> None:
    """Raise the UserError now that `write_results` would raise after the training."""
    check_aggregation(aggregate, task, len(samples.class_names))
    if "study" in samples.table:
        studies, first = _studies(samples.table)
        study_labels(samples.labels.numpy(), studies, samples.table["study"].iloc[first].tolist())


def _studies(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The number of each row's study, in order of appearance, and the first row of each study."""
    alone = np.where(table["study"].isna(), np.arange(1, len(table) + 1), 0)
    groups = table[STUDY].assign(alone=alone).groupby([*STUDY, "alone"], sort=False, dropna=False)
    studies = groups.ngroup().to_numpy()
    return studies, np.unique(studies, return_index=True)[1]


def decision_table(
    objective: Objective,
    probs: Tensor,
    names: Sequence[str],
    point: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Columns ``prob:<class>``, the decision of probabilities (n, K), and at which thresholds.

    In regression the predictions (n, K) alone, see `predictions_table`.
    """
    if objective.task == "regression":
        return named_columns("prediction", probs, names)
    shares = pd.DataFrame(probs.numpy(), columns=[f"prob:{name}" for name in names])
    thresholds = thresholds_of(point, names)
    decisions = named_columns("decision", objective.decide(probs, thresholds), names)
    parts = [shares, decisions]
    if thresholds is not None:
        several = objective.task == "multilabel"
        columns = [f"threshold:{name}" for name in names] if several else ["threshold"]
        parts.append(pd.DataFrame([thresholds] * len(probs), columns=columns, dtype=float))
    return pd.concat(parts, axis=1)


def named_columns(column: str, values: Tensor, names: Sequence[str]) -> pd.DataFrame:
    """Labels, decisions or predictions as columns of a table, None or NaN where unknown.

    Args:
        column: Name of the column; where there are several, they are ``<column>:<name>``.
        values: (n,) class indices, which become names; (n, K) of 0 and 1; (n, K) numbers.
        names: K names of classes or targets.
    """
    if values.ndim == 1:
        return pd.DataFrame({column: [names[k] if k != UNKNOWN else None for k in values.tolist()]})
    one = values.is_floating_point() and len(names) == 1
    columns = [column] if one else [f"{column}:{name}" for name in names]
    table = pd.DataFrame(values.numpy(), columns=columns)
    if values.is_floating_point() or bool(known(values).all()):
        return table
    return table.astype("Int64").mask(table == UNKNOWN)


def headline(metrics: Mapping[str, Any], split: str = "test") -> str:
    """``test AUROC 0.97, accuracy 0.91, sensitivity 0.90, specificity 0.95``, or of a regression.

    That is ``test R² 0.82, MAE 4.1, RMSE 5.3``.
    """
    words = []
    for name in REGRESSION_HEADLINE if f"{split}/r2" in metrics else HEADLINE:
        value = metrics.get(f"{split}/{name}", {}).get("value")
        shown = "undefined" if value is None else f"{value:.{'3f' if abs(value) < 1e5 else '3g'}}"
        words.append(f"{TITLES.get(name, name)} {shown}")
    return f"{split} {', '.join(words)}"
