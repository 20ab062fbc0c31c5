"""The page of a run: what was tested and how good it is, in one HTML file."""

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from medcnn._version import __version__
from medcnn.data.row_names import names_of_rows
from medcnn.jobs.atomic_files import write_text
from medcnn.jobs.progress import saying
from medcnn.report import privacy as run_privacy
from medcnn.report.pages import environment
from medcnn.report.run import confusions as run_confusions
from medcnn.report.run import figures as run_figures
from medcnn.report.run import forest as run_forest
from medcnn.report.run import maps as run_maps
from medcnn.report.run import summary as run_summary
from medcnn.report.run import tables as run_tables
from medcnn.report.run_files import RunFiles, read_run
from medcnn.report.svg import Chart
from medcnn.report.words import Record, plural

ORDER = ("image", "study", "patient")
MOST_CLASSES = 12  # whose curves are drawn
SECTIONS = {  # title, and what of the content or of a level it needs, any of them
    "summary": ("Summary", ("sentences",)),
    "data": ("Data", ("data", "problems")),
    "training": ("Training", ("learning",)),
    "ranking": ("ROC and precision–recall", ("roc", "precision_recall")),
    "agreement": ("Agreement", ("agreement",)),
    "confusion": ("Confusion", ("confusions", "labels")),
    "calibration": ("Calibration", ("reliability",)),
    "clinic": ("In the clinic", ("clinic",)),
    "decision": ("Decision curve", ("decision",)),
    "selective": ("Selective prediction", ("selective",)),
    "subgroups": ("Subgroups", ("forests",)),
    "figures": ("All figures", ("overall",)),
    "maps": ("Maps", ("samples",)),
    "errors": ("Worst errors", ("errors",)),
    "reproduce": ("How to reproduce", ("command", "environment", "config")),
}


class Level(NamedTuple):
    """All that is shown of images, studies or patients."""

    name: str
    title: str
    sentences: list[tuple[str, str]]
    cards: list[run_summary.Card]
    roc: list[Chart]
    precision_recall: list[Chart]
    agreement: list[Chart]
    confusions: list[run_confusions.Confusion]
    labels: run_tables.Table | None
    reliability: list[Chart]
    clinic: run_tables.Table | None
    thousand: str
    decision: list[Chart]
    selective: Chart | None
    forests: list[run_forest.Forest]
    overall: run_tables.Table | None
    by_class: run_tables.Table | None
    drawn: str
    errors: run_tables.Table | None


@saying("page")
def write_run_page(run: Path) -> Path:
    """Writes ``report.html`` into a run directory, from what lies there.

    That is ``evaluation.json`` and, where they are there, samples.csv, problems.csv, metrics.csv,
    environment.json, status.json, config.yaml and ``cams/layers.json`` with its pictures. The page
    holds all it needs. It shows no path of a machine, and no column with a patient's or a person's
    name; an image is named by its row of samples.csv and its file there, a pseudonym with
    pseudonymise=true.

    Raises:
        UserError: No evaluation.json there, or one of another kind.
    """
    page = environment().get_template("report.html.j2").render(_content(read_run(run), run))
    out = run / "report.html"
    write_text(out, page)
    return out


def _content(files: RunFiles, run: Path) -> dict[str, Any]:
    evaluation = files.evaluation
    data = run_privacy.without_paths(str(evaluation.get("data", "a data set")))
    shared = run_summary.shared_patients(files)
    samples, errors = (run_maps.read_layers(files.layers, run, k) for k in ("sample", "error"))
    content: dict[str, Any] = {
        "title": f"Test report: {data}",
        "subtitle": _subtitle(files),
        "levels": _levels(evaluation, _names(files)),
        "warnings": run_summary.warnings(files),
        "data": run_tables.data_table(files),
        "audit": "No patient is in more than one split." if shared == 0 else "",
        "problems": run_tables.problems_table(files),
        "audited": files.problems is not None,
        "learning": [] if files.epochs is None else run_figures.learning(files.epochs),
        "samples": samples,
        "errors": errors,
        "lesions": any(layers.outlined for layers in [*samples, *errors]),
        "wrong": any(layers.wrong for layers in [*samples, *errors]),
        "methods": _methods(files),
        "decided": _decided(evaluation),
        "colour_tables": run_maps.colour_tables(),
        "colour_bar": run_maps.colour_bar(),
        "command": run_privacy.command(files.environment.get("command") or []),
        "environment": _environment(files),
        "config": _config(files),
        "version": __version__,
    }
    return content | {"sections": _sections(content)}


def _sections(content: dict[str, Any]) -> dict[str, str]:
    """Titles of the sections that have something to show."""
    levels = content["levels"]
    return {
        name: title
        for name, (title, needs) in SECTIONS.items()
        if any(content.get(n) or any(getattr(k, n, None) for k in levels) for n in needs)
    }


def _subtitle(files: RunFiles) -> str:
    """What was trained, when."""
    config, parts = files.config, []
    model = config.get("model") if isinstance(config.get("model"), dict) else {}
    if name := (model or {}).get("name"):
        depth = model.get("depth") if model else None
        parts.append(f"{name}-{depth}" if depth else str(name))
    parts.append(f"{files.evaluation['task']} task")
    if time := files.environment.get("time"):
        parts.append(str(time)[:10])
    return " · ".join(map(run_privacy.without_paths, parts))


def _names(files: RunFiles) -> dict[int, str]:
    """Which images the worst errors are."""
    errors = files.evaluation["levels"].get("image", {}).get("errors") or []
    rows = [int(error["row"]) for error in errors if "row" in error]
    if files.samples is None or "image" not in files.samples:
        return {}
    there = [row for row in rows if row < len(files.samples)]
    return dict(zip(there, names_of_rows(files.samples, there), strict=True))


def _levels(evaluation: Record, image_names: dict[int, str]) -> list[Level]:
    levels = evaluation["levels"]
    names = [name for name in evaluation.get("level_names") or ORDER if name in levels]
    names += [name for name in levels if name not in names]
    return [
        _level(evaluation, name, levels[name], image_names if name == "image" else {})
        for name in names
    ]


def _level(evaluation: Record, name: str, level: Record, names: dict[int, str]) -> Level:
    figures = run_summary.figures_of(level)
    clinic = (level.get("clinic") or {}).get("figures") or {}
    labels = (level.get("clinic") or {}).get("labels") or {}

    def point(k: str) -> Record | None:
        """Where the decision lies on the curve of a class; pooled folds have each their own."""
        if curves[k].get("folds"):
            return None
        if labels:
            return labels[k]["figures"] if k in labels else None
        return clinic if only and {"sensitivity", "specificity"} <= set(clinic) else None

    many = plural(2, name).removeprefix("2 ")
    sought = run_summary.positive_of(evaluation)
    curves, bins, benefits = (
        _fewer(level.get(key) or {}, figures) for key in ("curves", "reliability", "decision_curve")
    )
    only = len(level.get("curves") or {}) == 1
    selective, scatter = level.get("selective"), level.get("scatter")
    return Level(
        name=name,
        title=plural(level["n"], name) if "n" in level else many,
        sentences=run_summary.sentences(evaluation, name, level),
        cards=run_summary.cards(evaluation["task"], level),
        roc=[
            run_figures.roc(k, c, _of(figures, "auroc", k, only), point(k))
            for k, c in curves.items()
            if "roc" in c
        ],
        precision_recall=[
            run_figures.precision_recall(
                k,
                c["pr"],
                _of(figures, "average_precision", k, only),
                _prevalence(level, figures, k),
                point(k),
            )
            for k, c in curves.items()
            if "pr" in c
        ],
        agreement=run_figures.agreement(scatter, figures) if scatter else [],
        confusions=run_confusions.confusions(level),
        labels=run_confusions.label_table(level.get("confusion"), labels),
        reliability=[
            run_figures.reliability(k, b, _of(figures, "ece", k, len(bins) == 1))
            for k, b in bins.items()
        ],
        clinic=run_tables.clinic_table(level),
        thousand=run_summary.thousand(many, sought, clinic) if sought else "",
        decision=[run_figures.decision_curve(k, c) for k, c in benefits.items()],
        selective=run_figures.selective(selective, many) if selective else None,
        forests=run_forest.forests(level),
        overall=run_tables.overall_table(
            level, evaluation.get("intervals") or {}, run_summary.folds_of(evaluation, name)
        ),
        by_class=run_tables.class_table(level, evaluation["class_names"]),
        drawn=_drawn(evaluation, len(curves)) if curves else "",
        errors=run_tables.errors_table(level.get("errors") or [], name, names),
    )


def _fewer(classes: Record, figures: Record) -> dict[str, Any]:
    """Where there are many classes, those with the lowest AUROC."""

    def area(name: str) -> float:
        value = figures.get(f"auroc/{name}", {}).get("value")
        return 2.0 if value is None else float(value)

    kept = sorted(classes, key=area)[:MOST_CLASSES]
    return {name: values for name, values in classes.items() if name in kept}


def _drawn(evaluation: Record, count: int) -> str:
    """Says so where not all classes have a curve."""
    classes = len(evaluation["class_names"])
    if run_summary.positive_of(evaluation) is not None or count == classes:
        return ""
    return f"Curves of {count} of the {classes} classes; the figures of all are in the table below."


def _of(figures: Record, key: str, name: str, only: bool) -> Record:
    """A figure of a class, else the one of the whole where that is the same."""
    return figures.get(f"{key}/{name}") or (figures.get(key, {}) if only else {})


def _prevalence(level: Record, figures: Record, name: str) -> float | None:
    """Of the samples of which the class is known."""
    counts, n = level.get("counts") or {}, figures.get(f"auroc/{name}", level).get("n")
    return counts[name] / n if name in counts and n else None


def _decided(evaluation: Record) -> str:
    """At which threshold the decisions beside maps were made; empty for the usual one."""
    point = evaluation.get("operating_point") or {}
    if evaluation.get("folds") and point:
        return "Decisions are those at the operating point of each fold."
    if "labels" in point:
        return "Decisions are those at the operating point of each label."
    threshold = point.get("threshold")
    if threshold is None:
        return ""
    return f"Decisions are those at the operating point, from a probability of {threshold:.3g} on."


def _methods(files: RunFiles) -> str:
    names = dict.fromkeys(str(layer["method"]) for layer in files.layers if layer.get("method"))
    return ", ".join(run_maps.METHODS.get(name, name) for name in names)


def _environment(files: RunFiles) -> list[tuple[str, str]]:
    """Names and values of what the run ran on and with."""
    found, facts = files.environment, []
    if "seed" in files.config:
        facts.append(("seed", files.config["seed"]))
    facts += [(key, found.get(key)) for key in ("time", "python", "platform", "precision")]
    facts += [(name, version) for name, version in (found.get("libraries") or {}).items()]
    if cpu := found.get("cpu"):
        facts.append(("processor", f"{cpu.get('count')} cores, {cpu.get('capability')}"))
    facts.append(("graphics processors", ", ".join(map(str, found.get("gpus") or [])) or None))
    facts.append(("threads", found.get("torch_threads")))
    if seconds := files.status.get("seconds"):
        facts.append(
            ("duration", f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min")
        )
    return [(k, run_privacy.without_paths(str(v))) for k, v in facts if v is not None]


def _config(files: RunFiles) -> str:
    shown = run_privacy.config(files.config)
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True) if shown else ""
