"""A run in words: the test, its results, and warnings."""

from collections.abc import Sequence
from typing import Any

from medcnn.report.runs import Run
from medcnn.report.tables import Cell, figure_cell
from medcnn.report.words import (
    RULES,
    Record,
    Words,
    bounds_of,
    listed,
    plural,
    show,
    split_of,
    tested_on,
    thresholds_of,
    with_interval,
    words_of,
)

HEADLINES = {
    "binary": ("auroc", "sensitivity", "specificity", "ppv", "npv", "ece"),
    "multiclass": ("auroc", "balanced_accuracy", "accuracy", "kappa", "mcc", "ece"),
    "ordinal": ("kappa", "auroc", "accuracy", "balanced_accuracy", "mae", "ece"),
    "multilabel": ("auroc", "average_precision", "f1", "sensitivity", "specificity", "ece"),
    "regression": ("mae", "rmse", "r2", "bias"),
}
DOUBTS = {
    "confidence": "how improbable the decision is",
    "entropy": "entropy of the mean",
    "mutual_information": "mutual information of the looks",
}
MOST_NAMED = 6  # classes whose counts stand in the sentence


def figures_of(level: Record) -> dict[str, Record]:
    """Return all figures of a level; of the same name the one at the operating point."""
    clinic = (level.get("clinic") or {}).get("figures", {})
    labels = (level.get("clinic") or {}).get("labels") or {}
    at = {f"{k}/{name}": f for name, one in labels.items() for k, f in one["figures"].items()}
    return {**level.get("figures", {}), **clinic, **at}


def folds_of(run: Run, name: str) -> dict[str, list[float | None]]:
    """Return the figures of a level in each fold of a cross-validation; none of another run."""
    prefix = "test/" if name == run.finest else f"test/{name}/"
    found = run.evaluation.get("folds") or {}
    own = {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
    return {key: values for key, values in own.items() if "/" not in key}


def cards(task: str, level: Record) -> list[tuple[Words, Cell]]:
    """Return the headline figures that a level has."""
    figures = figures_of(level)
    keys = [*HEADLINES[task], *(key for key in figures if key.startswith("coverage/"))]
    return [(words_of(k), figure_cell(k, figures[k])) for k in keys if k in figures]


def doubt(areas: Record) -> str:
    """Return how well each measure of doubt tells wrong decisions; empty where none is known.

    Args:
        areas: ``auroc_of_errors`` of a level's ``selective``.
    """
    told = [
        f"{name} {with_interval('auroc', areas[key])}"
        for key, name in DOUBTS.items()
        if areas.get(key, {}).get("value") is not None
    ]
    return f"AUROC of wrong decisions against right ones, by {'; by '.join(told)}." if told else ""


def sentences(run: Run, name: str) -> list[tuple[str, str]]:
    """Return a clinician's first questions about a level, each with its answer."""
    level = run.levels[name]
    figures = figures_of(level)
    found = [("Tested on", _tested(run, name, level))]
    if run.task == "regression":
        return [*found, *_errors(figures)]
    found.append(("Ranking", _ranking(run, name, figures)))
    found.append(("Decisions", _decisions(run, level, figures)))
    found.append(("Probabilities", _calibration(run.evaluation, figures)))
    return [(title, text) for title, text in found if text]


def _tested(run: Run, name: str, level: Record) -> str:
    where = f"The {split_of(run.evaluation.get('split', 'chosen'))} split of {run.data}"
    if "n" not in level:
        return f"{where}."
    what = tested_on(level, name)
    counts = level.get("counts") or {}
    if len(counts) > MOST_NAMED:
        what += f", {len(counts)} classes"
    elif counts:
        shares = "; ".join(f"{kind}: {count:,}" for kind, count in counts.items())
        several = f"; one {name} may have several" if run.task == "multilabel" else ""
        what += f" ({shares}{several})"
    return f"{where}: {what}."


def _ranking(run: Run, name: str, figures: Record) -> str:
    figure = figures.get("auroc", {})
    if figure.get("value") is None:
        return ""
    value = f"AUROC {with_interval('auroc', figure)}"
    if run.positive is None:
        return f"{value}, the mean over the classes of telling each from the others."
    return (
        f"{value}: a random {name} of class {run.positive} gets a higher probability of it than a "
        f"random other one in {100 * figure['value']:.0f} of 100 cases."
    )


def _decisions(run: Run, level: Record, figures: Record) -> str:
    rates = {k: with_interval(k, f) for k, f in figures.items() if f.get("value") is not None}
    if run.positive is None or not {"sensitivity", "specificity"} <= set(rates):
        parts = [k for k in ("accuracy", "balanced_accuracy", "f1", "kappa") if k in rates]
        text = f"{listed(f'{words_of(k).title} {rates[k]}' for k in parts)}." if parts else ""
        text = text[:1].upper() + text[1:]
        several = (level.get("clinic") or {}).get("labels")
        where = _calls_by_label(run.evaluation) if several else ""
        return " ".join(filter(None, [where, text, _extremes(run.class_names, figures)]))
    text = (
        f"{_calls(run.evaluation, level)} Of class {run.positive} it finds {rates['sensitivity']} "
        f"(sensitivity); of the others it clears {rates['specificity']} (specificity)."
    )
    if {"prevalence", "ppv", "npv"} <= set(rates):
        text += (
            f" Where {show('prevalence', figures['prevalence']['value'])} are of that class, "
            f"{rates['ppv']} of the positive calls and {rates['npv']} of the negative ones are "
            "right."
        )
    return text


def calls(run: Run) -> str:
    """Return the thresholds of the finest level's calls, and their origin; empty without any."""
    point = run.evaluation.get("operating_point")
    if not point:
        return ""
    first = next(iter(run.levels.values()))
    return _calls_by_label(run.evaluation) if "labels" in point else _calls(run.evaluation, first)


def _calls(evaluation: Record, level: Record) -> str:
    point = evaluation.get("operating_point") or {}
    clinic = level.get("clinic") or {}
    threshold = thresholds_of(clinic) or thresholds_of(point)
    if not threshold:
        return "Calls are for the most probable class."
    folds = ", in each fold its own" if clinic.get("thresholds") else ""
    return f"Called positive from a probability of {threshold} on{folds}{_why(point)}."


def _calls_by_label(evaluation: Record) -> str:
    point = evaluation.get("operating_point") or {}
    none = [name for name, one in (point.get("labels") or {}).items() if one is None]
    rest = f"; {listed(none)}, for which none could be chosen, from 0.5" if none else ""
    folds = ", in each fold another" if evaluation.get("folds") else ""
    return f"Each label is called from a probability of its own on{folds}{_why(point)}{rest}."


def _why(point: Record) -> str:
    """Return the split and the rule that an operating point was chosen by, in brackets."""
    rule = RULES.get(point.get("rule", ""), str(point.get("rule", "")).replace("_", " "))
    where = {"out-of-fold": "images that members were not trained on"}
    split = point.get("chosen_on")
    chosen = f"chosen on {where.get(split, f'the {split_of(split)} split')}" if split else ""
    why = ", ".join(filter(None, [chosen, f"rule: {rule}" if rule else ""]))
    return f" ({why})" if why else ""


def _extremes(names: Sequence[str], figures: Record) -> str:
    """Return the classes that are found most and least often."""
    found = {name: figures.get(f"sensitivity/{name}", {}) for name in names}
    values = {name: one for name, one in found.items() if one.get("value") is not None}
    if len(values) < 3:
        return ""
    best, worst = (f(values, key=lambda name: values[name]["value"]) for f in (max, min))
    most, least = (with_interval("sensitivity", values[name]) for name in (best, worst))
    return f"Found most often: {best}, {most}; least often: {worst}, {least}."


def _calibration(evaluation: Record, figures: Record) -> str:
    figure, parts = figures.get("ece", {}), []
    if figure.get("value") is not None:
        low_high = [f"{100 * bound:.1f}" for bound in bounds_of(figure)]
        interval = f" (95 % interval {' to '.join(low_high)})" if low_high else ""
        parts.append(
            "On average, predicted probability and observed share differ by "
            f"{100 * figure['value']:.1f} percentage points{interval}."
        )
    temperature, applied = evaluation.get("temperature"), evaluation.get("calibration_applied")
    if applied in ("temperature", "isotonic"):
        how = {"isotonic": "isotonic regression"}.get(applied, "temperature scaling")
        degree = f" (T = {temperature:.2f})" if applied == "temperature" and temperature else ""
        parts.append(f"The probabilities are corrected by {how}{degree}.")
    elif temperature is not None:
        sure = "overconfident" if temperature > 1 else "underconfident"
        hint = f", so it is {sure}" if abs(temperature - 1) > 0.05 else ""
        parts.append(
            f"The probabilities are as the net gives them; temperature scaling would divide its "
            f"logits by {temperature:.2f}{hint}."
        )
    return " ".join(parts)


def _errors(figures: Record) -> list[tuple[str, str]]:
    values = {k: with_interval(k, f) for k, f in figures.items() if f.get("value") is not None}
    found = []
    if "mae" in values:
        rest = [f"{words_of(k).title} {values[k]}" for k in ("rmse", "r2") if k in values]
        beside = f"; {listed(rest)}" if rest else ""
        found.append(("Error", f"It is off by {values['mae']} on average (MAE){beside}."))
    if {"bias", "limit_low", "limit_high"} <= set(values):
        text = (
            f"Predictions lie {values['bias']} from the truth on average (bias); of 100, about 95 "
            f"lie between {values['limit_low']} and {values['limit_high']} from it."
        )
        found.append(("Agreement", text))
    return found


def warnings(run: Run) -> list[str]:
    """Return sentences to be read before the figures are trusted."""
    shared = shared_patients(run)
    where = f"{plural(shared or 0, 'patient')} in more than one split"
    return [*run.notes, *([f"{where}: the figures may be too good."] if shared else [])]


def shared_patients(run: Run) -> int | None:
    """Return how many patients are in more than one split; None where nobody knows."""
    table: Any = run.samples
    if table is None or not {"patient", "split"} <= set(table.columns) or "fold" in table:
        return None
    return int((table.groupby("patient")["split"].nunique() > 1).sum())


def thousand(many: str, sought: str, figures: Record) -> str:
    """Return the outcome of 1,000 cases like these in words; empty where that isn't known.

    Args:
        many: The plural of the level.
        sought: The positive class.
        figures: With sensitivity, specificity and prevalence.
    """
    keys = ("prevalence", "sensitivity", "specificity")
    values = [figures.get(key, {}).get("value") for key in keys]
    if None in values:
        return ""
    prevalence, sensitivity, specificity = map(float, values)
    ill = round(1000 * prevalence)
    found, alarms = round(ill * sensitivity), round((1000 - ill) * (1 - specificity))
    return (
        f"Of 1,000 {many}, {ill} of them of class {sought}, {found} of those are found and "
        f"{ill - found} missed. Of the {1000 - ill} others, {1000 - ill - alarms} are cleared and "
        f"{alarms} called in error. So {found} of {found + alarms} positive calls are right."
    )
