"""From the answers on images to tables of predictions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medcnn.data.samples import Samples
from medcnn.data.studies import study_numbers
from medcnn.evaluation.interval_coverage import quantile_column
from medcnn.evaluation.operating_point import thresholds_of
from medcnn.evaluation.selective import mutual_information, predictive_entropy
from medcnn.evaluation.studies import aggregate as aggregate_slices
from medcnn.evaluation.studies import study_labels
from medcnn.objective import UNKNOWN, Objective, known


def predictions_table(
    samples: Samples,
    objective: Objective,
    collected: dict[str, Tensor],
    point: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Return a row a sample: row, image, patient, split, label, ``prob:<class>`` …, decision.

    With `Samples.studies` a row a study: also ``study``, and ``images``, the number that it rests
    on; ``row`` and ``image`` are those of its first one.

    An operating point makes the decisions, and adds ``threshold``, of the probability of the
    positive class (of several labels ``threshold:<class>``, empty where there is none and 0.5
    counts); several views add ``entropy`` and ``mutual_information`` (natural log) of their
    probabilities.

    Label and decision are class names; in multi-label data ``label:<class>`` and
    ``decision:<class>`` are 0 or 1. In regression there are ``label`` and ``prediction``, or with
    several targets ``label:<target>`` and ``prediction:<target>``; and the columns of
    `quantile_table` where there are ``quantiles``. An unknown label is empty.
    """
    rows = collected["row"].numpy()
    table = samples.table.iloc[rows][["image", "patient", "split"]].reset_index(drop=True)
    table.insert(0, "row", rows)
    names, studies = samples.class_names, samples.studies
    if studies is not None:
        table.insert(1, "study", samples.table["study"].iloc[rows].to_numpy())
    labels = named_columns("label", collected["label"], names)
    parts = [table, labels, decision_table(objective, collected["probs"], names, point)]
    if "quantiles" in collected:
        parts.append(quantile_table(objective, collected["quantiles"], names))
    if "views" in collected:
        parts.append(doubt_table(objective, collected["views"].double().numpy()))
    if studies is not None:
        parts.append(pd.DataFrame({"images": studies.sizes(collected["row"]).numpy()}))
    return pd.concat(parts, axis=1)


def doubt_table(objective: Objective, views: np.ndarray) -> pd.DataFrame:
    """Return ``entropy`` and ``mutual_information`` of views (V, n, K) on n images.

    No columns of several labels and of regressions, which have no distribution over classes.
    """
    if objective.task in ("multilabel", "regression"):
        return pd.DataFrame(index=range(views.shape[1]))
    return pd.DataFrame(
        {
            "entropy": predictive_entropy(views.mean(0)),
            "mutual_information": mutual_information(views),
        }
    )


def quantile_table(objective: Objective, quantiles: Tensor, names: Sequence[str]) -> pd.DataFrame:
    """Return ``quantile:<level>``, or of several targets ``quantile:<level>:<target>``.

    All levels of the quantiles (n, K, Q) but the median, which is the prediction.
    """
    columns = {
        quantile_column(level, name, names): quantiles[:, k, q].numpy()
        for k, name in enumerate(names)
        for q, level in enumerate(objective.levels)
        if level != 0.5
    }
    return pd.DataFrame(columns)


def studies_table(
    samples: Samples,
    objective: Objective,
    collected: dict[str, Tensor],
    aggregate: str,
    point: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Return a row a study: study, patient, split, then as in `predictions_table`, and slices.

    The last is the number of slices that the row rests on. An image without a study is one by
    itself; the same study of two patients is two.
    """
    table = samples.table.iloc[collected["row"].numpy()]
    studies, first = study_numbers(table)
    facts = table[["study", "patient", "split"]].iloc[first].reset_index(drop=True)
    labels = study_labels(collected["label"].numpy(), studies, facts["study"].tolist())
    probs = aggregate_slices(
        collected["probs"].numpy(),
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


def decision_table(
    objective: Objective,
    probs: Tensor,
    names: Sequence[str],
    point: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Return columns ``prob:<class>``, the decision of probabilities (n, K), and its thresholds.

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
    """Return labels, decisions or predictions as columns of a table, None or NaN where unknown.

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
