"""Evaluations of tables of predictions."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from medcnn.evaluation import Figure, Predictions, Settings, analyse, evaluate


def analysis_of(
    levels: Mapping[str, pd.DataFrame],
    samples: pd.DataFrame,
    card: Mapping[str, Any],
    split: str,
    aggregate: str,
    settings: Mapping[str, Any] | None = None,
    *,
    point: Mapping[str, Any] | None = None,
    calibration: str = "none",
    data: str | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Return `medcnn.evaluation.analyse` of tables of predictions.

    Args:
        levels: Tables as in predictions.csv and predictions_study.csv, by level, the finest one,
            whose rows are those of samples, first.
        samples: The sample table, for subgroups; its index is the tables' ``row``.
        card: Of the classifier.
        split: Of the tables' rows.
        aggregate: Images to patients.
        settings: The config group ``evaluation``; None for its defaults.
        point: The operating point.
        calibration: That of the probabilities.
        data: Name of the data set; None for the one of the training.
        notes: Sentences that come before those of the analysis.
    """
    given = dict(settings or {})
    given.pop("operating_point", None)  # the rule; the point itself is the classifier's
    columns = [c for c in given.get("subgroups", Settings().subgroups) if c in samples]
    predictions = {}
    for name, table in levels.items():
        part = table[table["split"] == split]
        if "row" in part:
            part = part.join(samples[columns], on="row")
        predictions[name] = predictions_of(part, card)
    choices = card.get("choices") or {}
    if point is not None:
        point = {"chosen_on": choices.get("chosen_on"), **point}
    facts = {
        "data": data or card["config"]["dataset"].get("name"),
        "split": split,
        "temperature": choices.get("temperature"),
        "calibration_applied": calibration,
    }
    content = analyse(predictions, Settings(point, aggregate=aggregate, **given), facts)
    return content | {"notes": [*notes, *content["notes"]]}


def flat(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of an evaluation.json by ``split/metric``."""
    metrics: dict[str, Any] = {}
    for name, level in content["levels"].items():
        finest = name == content["level_names"][0]
        prefix = content["split"] if finest else f"{content['split']}/{name}"
        metrics |= {f"{prefix}/{key}": figure for key, figure in level["figures"].items()}
        clinic = level.get("clinic") or {"figures": {}}
        at = dict(clinic["figures"])
        for label, one in clinic.get("labels", {}).items():
            at |= {f"{key}/{label}": figure for key, figure in one["figures"].items()}
        metrics |= {f"{prefix}/clinic/{key}": figure for key, figure in at.items()}
    return metrics


def split_figures(
    levels: Mapping[str, pd.DataFrame], card: Mapping[str, Any], split: str
) -> dict[str, Any]:
    """Return figures without intervals, of a split that isn't reported."""
    found: dict[str, Any] = {}
    for name, table in levels.items():
        prefix = split if name == next(iter(levels)) else f"{split}/{name}"
        figures = figures_of_table(table[table["split"] == split], card)
        found |= {f"{prefix}/{key}": dict(figure) for key, figure in figures.items()}
    return found


def predictions_of(table: pd.DataFrame, card: Mapping[str, Any]) -> Predictions:
    """Return the `Predictions` of a table like predictions.csv, by its classifier's card."""
    return Predictions.of(
        table, task=card["task"], class_names=card["class_names"], positive=card["positive"]
    )


def figures_of_table(table: pd.DataFrame, card: Mapping[str, Any]) -> dict[str, Figure]:
    """Return `medcnn.evaluation.evaluate` of such a table."""
    found = predictions_of(table, card)
    return evaluate(*found.arrays, **found.meaning)
