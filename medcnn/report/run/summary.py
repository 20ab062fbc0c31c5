"""A run in words: what was tested, how good it was, and what to beware of."""

from typing import Any, NamedTuple

from medcnn.report.privacy import without_paths
from medcnn.report.run_files import RunFiles
from medcnn.report.words import (
    RULES,
    Record,
    interval,
    listed,
    plural,
    show,
    split_of,
    thresholds_told,
    told,
    words_of,
)

HEADLINES = {
    "binary": ("auroc", "sensitivity", "specificity", "ppv", "npv", "ece"),
    "multiclass": ("auroc", "balanced_accuracy", "accuracy", "kappa", "mcc", "ece"),
    "ordinal": ("kappa", "auroc", "accuracy", "balanced_accuracy", "mae", "ece"),
    "multilabel": ("auroc", "average_precision", "f1", "sensitivity", "specificity", "ece"),
    "regression": ("mae", "rmse", "r2", "bias"),
}
MOST_NAMED = 6  # classes whose counts stand in the sentence


class Card(NamedTuple):
    """A headline figure."""

    title: str
    value: str
    interval: str
    what: str


def figures_of(level: Record) -> dict[str, Record]:
    """All figures of a level; of the same name the one at the operating point."""
    clinic = (level.get("clinic") or {}).get("figures", {})
    labels = (level.get("clinic") or {}).get("labels") or {}
    at = {f"{k}/{name}": f for name, one in labels.items() for k, f in one["figures"].items()}
    return {**level.get("figures", {}), **clinic, **at}


def folds_of(evaluation: Record, name: str) -> dict[str, list[float | None]]:
    """Of a cross-validation the figures in each fold, by name; of another run none."""
    prefix = "test/" if name == "image" else f"test/{name}/"
    found = evaluation.get("folds") or {}
    own = {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
    return {key: values for key, values in own.items() if "/" not in key}


def cards(task: str, level: Record) -> list[Card]:
    """The headline figures of a level that there are."""
    figures = figures_of(level)
    found = []
    for key in HEADLINES[task]:
        if key in figures:
            ends = interval(key, figures[key]) or "no interval"
            value = show(key, figures[key].get("value"))
            found.append(Card(words_of(key).title, value, ends, words_of(key).what))
    return found


def sentences(evaluation: Record, name: str, level: Record) -> list[tuple[str, str]]:
    """What a clinician asks first, each with its answer.

    Args:
        evaluation: Of evaluation.json.
        name: Of the level: image, study or patient.
        level: Of that name.
    """
    figures, task = figures_of(level), evaluation["task"]
    found = [("Tested on", _tested(evaluation, name, level))]
    if task == "regression":
        return [*found, *_errors(figures)]
    found.append(("Ranking", _ranking(evaluation, name, figures)))
    found.append(("Decisions", _decisions(evaluation, name, level, figures)))
    found.append(("Probabilities", _calibration(evaluation, figures)))
    return [(title, text) for title, text in found if text]


def _tested(evaluation: Record, name: str, level: Record) -> str:
    data = without_paths(str(evaluation.get("data", "a data set")))
    where = f"The {split_of(evaluation.get('split', 'chosen'))} split of {data}"
    if "n" not in level:
        return f"{where}."
    what = plural(level["n"], name)
    if name != "patient" and level.get("patients", level["n"]) < level["n"]:
        what += f" of {plural(level['patients'], 'patient')}"
    counts = level.get("counts") or {}
    if len(counts) > MOST_NAMED:
        what += f", {len(counts)} classes"
    elif counts:
        shares = "; ".join(f"{kind}: {count:,}" for kind, count in counts.items())
        several = f"; one {name} may have several" if evaluation["task"] == "multilabel" else ""
        what += f" ({shares}{several})"
    return f"{where}: {what}."


def _ranking(evaluation: Record, name: str, figures: Record) -> str:
    figure = figures.get("auroc", {})
    if figure.get("value") is None:
        return ""
    value = f"AUROC {told('auroc', figure)}"
    sought = positive_of(evaluation)
    if sought is None:
        return f"{value}, the mean over the classes of telling each from the others."
    return (
        f"{value}: a random {name} of class {sought} gets a higher probability of it than a random "
        f"other one in {100 * figure['value']:.0f} of 100 cases."
    )


def _decisions(evaluation: Record, name: str, level: Record, figures: Record) -> str:
    rates = {k: told(k, f) for k, f in figures.items() if f.get("value") is not None}
    sought = positive_of(evaluation)
    if sought is None or not {"sensitivity", "specificity"} <= set(rates):
        parts = [k for k in ("accuracy", "balanced_accuracy", "f1", "kappa") if k in rates]
        text = f"{listed(f'{words_of(k).title} {rates[k]}' for k in parts)}." if parts else ""
        text = text[:1].upper() + text[1:]
        several = (level.get("clinic") or {}).get("labels")
        where = _points(evaluation) if several else ""
        return " ".join(filter(None, [where, text, _extremes(evaluation, figures)]))
    text = (
        f"{_point(evaluation, level)} Of class {sought} it finds {rates['sensitivity']} "
        f"(sensitivity); of the others it clears {rates['specificity']} (specificity)."
    )
    if {"prevalence", "ppv", "npv"} <= set(rates):
        text += (
            f" Where {show('prevalence', figures['prevalence']['value'])} are of that class, "
            f"{rates['ppv']} of the positive calls and {rates['npv']} of the negative ones are "
            "right."
        )
    return text


def calls(evaluation: Record, level: Record) -> str:
    """Where the lines between calls lie, and who drew them."""
    several = "labels" in (evaluation.get("operating_point") or {})
    return _points(evaluation) if several else _point(evaluation, level)


def _point(evaluation: Record, level: Record) -> str:
    """Where the line between the two calls lies, and who drew it."""
    point = evaluation.get("operating_point") or {}
    clinic = level.get("clinic") or {}
    threshold = thresholds_told(clinic) or thresholds_told(point)
    if not threshold:
        return "Calls are for the most probable class."
    folds = ", in each fold its own" if clinic.get("thresholds") else ""
    return f"Called positive from a probability of {threshold} on{folds}{_why(point)}."


def _points(evaluation: Record) -> str:
    """The same of several labels, each of which has a threshold of its own."""
    point = evaluation.get("operating_point") or {}
    none = [name for name, one in (point.get("labels") or {}).items() if one is None]
    rest = f"; {listed(none)}, for which none could be chosen, from 0.5" if none else ""
    folds = ", in each fold another" if evaluation.get("folds") else ""
    return f"Each label is called from a probability of its own on{folds}{_why(point)}{rest}."


def _why(point: Record) -> str:
    """In brackets who chose it, and how."""
    rule = RULES.get(point.get("rule", ""), str(point.get("rule", "")).replace("_", " "))
    where = {"out-of-fold": "images that members were not trained on"}
    split = point.get("chosen_on")
    chosen = f"chosen on {where.get(split, f'the {split_of(split)} split')}" if split else ""
    why = ", ".join(filter(None, [chosen, f"rule: {rule}" if rule else ""]))
    return f" ({why})" if why else ""


def _extremes(evaluation: Record, figures: Record) -> str:
    """The classes that are found most and least often."""
    values = {
        name: figures[f"sensitivity/{name}"]
        for name in evaluation["class_names"]
        if figures.get(f"sensitivity/{name}", {}).get("value") is not None
    }
    if len(values) < 3:
        return ""
    best, worst = (f(values, key=lambda name: values[name]["value"]) for f in (max, min))
    most, least = (told("sensitivity", values[name]) for name in (best, worst))
    return f"Found most often: {best}, {most}; least often: {worst}, {least}."


def _calibration(evaluation: Record, figures: Record) -> str:
    figure, parts = figures.get("ece", {}), []
    if figure.get("value") is not None:
        points = {k: figure[k] for k in ("low", "high") if figure.get(k) is not None}
        ends = " to ".join(f"{100 * v:.1f}" for v in points.values())
        ends = f" (95 % interval {ends})" if len(points) == 2 else ""
        parts.append(
            "On average, predicted probability and observed share differ by "
            f"{100 * figure['value']:.1f} percentage points{ends}."
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
    values = {k: told(k, f) for k, f in figures.items() if f.get("value") is not None}
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


def positive_of(evaluation: Record) -> str | None:
    """Name of the class that is sought; None where there is none."""
    positive, names = evaluation.get("positive"), evaluation["class_names"]
    if evaluation["task"] != "binary" or not isinstance(positive, int):
        return None
    return str(names[positive]) if 0 <= positive < len(names) else None


def warnings(files: RunFiles) -> list[str]:
    """What a reader must know before trusting the figures."""
    found = [without_paths(str(note)) for note in files.evaluation.get("notes") or []]
    if shared := shared_patients(files):
        found.append(
            f"{plural(shared, 'patient')} in more than one split: the figures may be too good."
        )
    if files.problems is not None and "severity" in files.problems:
        grave = int(files.problems["severity"].isin(["error", "warning"]).sum())
        if grave:
            found.append(f"The audit of the data found {plural(grave, 'problem')}: see Data.")
    return found


def shared_patients(files: RunFiles) -> int | None:
    """How many patients are in more than one split; None where nobody knows."""
    table: Any = files.samples
    if table is None or not {"patient", "split"} <= set(table.columns) or "fold" in table:
        return None
    return int((table.groupby("patient")["split"].nunique() > 1).sum())


def thousand(many: str, sought: str, figures: Record) -> str:
    """What happens among 1,000 cases like these; empty where that isn't known.

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
