"""The page of a run: its test and its results, in one HTML file."""

from pathlib import Path
from typing import Any

import yaml

from medcnn.data.row_names import names_of_rows
from medcnn.jobs.progress import saying
from medcnn.report import privacy
from medcnn.report.pages import write_page
from medcnn.report.run import columns, maps, tables
from medcnn.report.run import figures as charts
from medcnn.report.run.confusions import confusion_of, label_table
from medcnn.report.run.forest import forests
from medcnn.report.run.health import health_charts, sentences_on_training
from medcnn.report.run.plan import plan_facts, plan_notes, plan_table
from medcnn.report.run.summary import (
    cards,
    doubt,
    figures_of,
    folds_of,
    sentences,
    shared_patients,
    thousand,
    warnings,
)
from medcnn.report.runs import Run, read_run
from medcnn.report.words import Record, plural, plurals

MOST_CLASSES = 12  # whose curves are drawn
SECTIONS = {  # title, and what of the content or of a level it needs, any of them
    "summary": ("Summary", ("sentences",)),
    "data": ("Data", ("data", "problems")),
    "plan": ("How it configured itself", ("plan_table",)),
    "training": ("Training", ("learning", "health", "judged")),
    "ranking": ("ROC and precision–recall", ("roc", "precision_recall")),
    "agreement": ("Agreement", ("agreement",)),
    "confusion": ("Confusion", ("confusion", "labels")),
    "calibration": ("Calibration", ("reliability",)),
    "clinic": ("In the clinic", ("clinic",)),
    "decision": ("Decision curve", ("decision",)),
    "selective": ("Selective prediction", ("selective",)),
    "subgroups": ("Subgroups", ("forests",)),
    "figures": ("All figures", ("overall",)),
    "columns": ("Columns", ("importance", "added")),
    "maps": ("Maps", ("samples",)),
    "errors": ("Worst errors", ("errors",)),
    "labels": ("Are the labels right?", ("doubtful",)),
    "reproduce": ("How to reproduce", ("command", "environment", "config")),
}


@saying("page")
def write_run_page(run: Path) -> Path:
    """Write ``report.html`` into a run directory, from what lies there.

    That is ``evaluation.json`` and, where they are there, samples.csv, problems.csv, metrics.csv,
    health.csv, label_issues.csv, columns.csv, the runs of the columns alone, environment.json,
    status.json, config.yaml and ``cams/layers.json`` with its pictures. The page holds all it
    needs. It shows no path of a machine, and no column with a patient's or a person's name; an
    image is named by its row of samples.csv and its file there, a pseudonym with pseudonymise=true.

    Raises:
        UserError: No evaluation.json there, or one of another kind.
    """
    return write_page(run / "report.html", "report.html.j2", _content(read_run(run)))


def _content(run: Run) -> dict[str, Any]:
    samples, errors = (maps.read_layers(run.layers, run.path, kind) for kind in ("sample", "error"))
    doubtful = _doubtful(run)
    mapped = [*samples, *errors, *(layers for each in doubtful for layers in each if layers.mapped)]
    content: dict[str, Any] = {
        "title": f"Test report: {run.data}",
        "subtitle": _subtitle(run),
        "levels": [
            _words(run, name) | _curves(run, name) | _tables(run, name) for name in run.levels
        ],
        "warnings": [*warnings(run), *_audit(run)],
        "data": tables.data_table(run),
        "audit": "No patient is in more than one split." if shared_patients(run) == 0 else "",
        "problems": tables.problems_table(run),
        "audited": run.problems is not None,
        "plan_facts": plan_facts(run),
        "plan_notes": plan_notes(run),
        "plan_table": plan_table(run),
        "learning": [] if run.epochs is None else charts.learning(run.epochs),
        "judged": sentences_on_training(run),
        "health": [] if run.health is None else health_charts(run.health),
        "importance": columns.importance_table(run),
        "added": columns.added_table(run),
        "samples": samples,
        "errors": errors,
        "doubtful": tables.label_issues_table(run),
        "doubtful_maps": doubtful,
        "mapped": bool(mapped),
        "lesions": any(layers.outlined for layers in mapped),
        "wrong": any(layers.wrong for layers in [*samples, *errors]),
        "methods": _methods(run),
        "decided": _decided(run.evaluation),
        "colour_tables": maps.colour_tables(),
        "colour_bar": maps.colour_bar(),
        "command": privacy.command(run.environment.get("command") or []),
        "environment": _environment(run),
        "config": _config(run),
    }
    return content | {"sections": _sections(content)}


def _doubtful(run: Run) -> list[list[maps.Layers]]:
    """Return the maps of each label that is shown as one that may be wrong; empty without any."""
    if run.label_issues is None:
        return []
    found = [
        [one for one in run.layers if (one.get("issue"), one.get("row")) == (number, row)]
        for number, row in enumerate(run.label_issues["row"].tolist())
    ]
    read = [maps.read_layers(records, run.path, "label") for records in found]
    return read if any(read) else []


def _sections(content: dict[str, Any]) -> dict[str, str]:
    """Return the titles of the sections that have something to show."""
    levels = content["levels"]
    return {
        name: title
        for name, (title, needs) in SECTIONS.items()
        if any(content.get(n) or any(level.get(n) for level in levels) for n in needs)
    }


def _subtitle(run: Run) -> str:
    """Return the net, the task and the day."""
    model, parts = run.config.get("model"), []
    if isinstance(model, dict) and (name := model.get("name")):
        parts.append(f"{name}-{model['depth']}" if model.get("depth") else str(name))
    parts.append(f"{run.task} task")
    if time := run.environment.get("time"):
        parts.append(str(time)[:10])
    return " · ".join(map(privacy.without_paths, parts))


def _audit(run: Run) -> list[str]:
    if run.problems is None:
        return []
    grave = int(run.problems["severity"].isin(["error", "warning"]).sum())
    return [f"The audit of the data found {plural(grave, 'problem')}: see Data."] if grave else []


def _names(run: Run) -> dict[int, str]:
    """Return the names of the images that are the worst errors, by their rows."""
    if run.samples is None or "image" not in run.samples:
        return {}
    errors = run.levels.get(run.finest, {}).get("errors") or []
    rows = [error["row"] for error in errors if error["row"] < len(run.samples)]
    return dict(zip(rows, names_of_rows(run.samples, rows), strict=True))


def _words(run: Run, name: str) -> dict[str, Any]:
    level, many = run.levels[name], plurals(name)
    clinic = (level.get("clinic") or {}).get("figures") or {}
    return {
        "title": plural(level["n"], name) if "n" in level else many,
        "sentences": sentences(run, name),
        "cards": cards(run.task, level),
        "thousand": thousand(many, run.positive, clinic) if run.positive else "",
    }


def _curves(run: Run, name: str) -> dict[str, Any]:
    level, figures = run.levels[name], figures_of(run.levels[name])
    curves, bins, benefits = (
        _fewer(level.get(key) or {}, figures) for key in ("curves", "reliability", "decision_curve")
    )
    only, points = len(level.get("curves") or {}) == 1, _points(level, curves)
    selective, scatter = level.get("selective"), level.get("scatter")
    roc, precision_recall = [], []
    for k, curve in curves.items():
        area, precision = (_of(figures, key, k, only) for key in ("auroc", "average_precision"))
        share = _prevalence(level, figures, k)
        roc.append(charts.roc(k, curve, area, points[k]))
        precision_recall.append(
            charts.precision_recall(k, curve["pr"], precision, share, points[k])
        )
    alone = len(bins) == 1
    return {
        "roc": roc,
        "precision_recall": precision_recall,
        "drawn": _drawn(run, len(curves)) if curves else "",
        "agreement": charts.agreement(scatter, figures) if scatter else [],
        "reliability": [
            charts.reliability(k, b, _of(figures, "ece", k, alone)) for k, b in bins.items()
        ],
        "decision": [charts.decision_curve(k, c) for k, c in benefits.items()],
        "selective": charts.selective(selective, plurals(name)) if selective else None,
        "doubt": doubt((selective or {}).get("auroc_of_errors") or {}),
    }


def _points(level: Record, curves: Record) -> dict[str, Record]:
    """Return the figures at the operating point on the curve of each class, where it has one.

    Pooled folds have a point each, on curves of their own.
    """
    clinic = level.get("clinic") or {}
    labels = clinic.get("labels") or {}
    whole = clinic.get("figures") if len(level.get("curves") or {}) == 1 and not labels else None
    own = {k: labels[k]["figures"] if k in labels else whole or {} for k in curves}
    return {k: {} if curves[k].get("folds") else point for k, point in own.items()}


def _tables(run: Run, name: str) -> dict[str, Any]:
    level, intervals = run.levels[name], run.evaluation.get("intervals") or {}
    labels = (level.get("clinic") or {}).get("labels") or {}
    names = _names(run) if name == run.finest else {}
    return {
        "confusion": confusion_of(level),
        "labels": label_table(level.get("confusion"), labels),
        "clinic": tables.clinic_table(level),
        "forests": forests(level),
        "overall": tables.overall_table(level, folds_of(run, name), intervals),
        "by_class": tables.class_table(level, run.class_names),
        "errors": tables.errors_table(level.get("errors") or [], name, names),
    }


def _fewer(classes: Record, figures: Record) -> dict[str, Any]:
    """Return the classes to draw: of many those with the lowest AUROC."""

    def area(name: str) -> float:
        value = figures.get(f"auroc/{name}", {}).get("value")
        return 2.0 if value is None else float(value)

    kept = sorted(classes, key=area)[:MOST_CLASSES]
    return {name: values for name, values in classes.items() if name in kept}


def _drawn(run: Run, count: int) -> str:
    """Return a sentence where not all classes have a curve."""
    classes = len(run.class_names)
    if run.positive is not None or count == classes:
        return ""
    return f"Curves of {count} of the {classes} classes; the figures of all are in the table below."


def _of(figures: Record, key: str, name: str, only: bool) -> Record:
    """Return a figure of a class, else the one of the whole where that is the same."""
    return figures.get(f"{key}/{name}") or (figures.get(key, {}) if only else {})


def _prevalence(level: Record, figures: Record, name: str) -> float | None:
    """Return the share of a class among the samples of which it is known."""
    counts, n = level.get("counts") or {}, figures.get(f"auroc/{name}", level).get("n")
    return counts[name] / n if name in counts and n else None


def _decided(evaluation: Record) -> str:
    """Return the threshold of the decisions beside maps; empty for the usual one."""
    point = evaluation.get("operating_point") or {}
    if evaluation.get("folds") and point:
        return "Decisions are those at the operating point of each fold."
    if "labels" in point:
        return "Decisions are those at the operating point of each label."
    threshold = point.get("threshold")
    if threshold is None:
        return ""
    return f"Decisions are those at the operating point, from a probability of {threshold:.3g} on."


def _methods(run: Run) -> str:
    names = dict.fromkeys(str(layer["method"]) for layer in run.layers if layer.get("method"))
    return ", ".join(maps.METHODS.get(name, name) for name in names)


def _environment(run: Run) -> list[tuple[str, str]]:
    """Return names and values of the machine and the libraries of a run."""
    found, cpu, seconds = run.environment, run.environment.get("cpu"), run.status.get("seconds")
    facts = {
        "seed": run.config.get("seed"),
        **{key: found.get(key) for key in ("time", "python", "platform", "precision")},
        **(found.get("libraries") or {}),
        "processor": cpu and f"{cpu.get('count')} cores, {cpu.get('capability')}",
        "graphics processors": ", ".join(map(str, found.get("gpus") or [])) or None,
        "threads": found.get("torch_threads"),
    }
    if seconds:
        facts["duration"] = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return [(k, privacy.without_paths(str(v))) for k, v in facts.items() if v is not None]


def _config(run: Run) -> str:
    shown = privacy.config(run.config)
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True) if shown else ""
