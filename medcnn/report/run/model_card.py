"""The model card of a run: what its files know, and what its author has to add."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from medcnn._version import __version__
from medcnn.jobs.atomic_files import write_text
from medcnn.report import privacy as run_privacy
from medcnn.report.pages import environment
from medcnn.report.run.summary import calls, folds_of, sentences, shared_patients
from medcnn.report.run.tables import (
    Cell,
    Row,
    Table,
    class_table,
    clinic_table,
    data_table,
    figure_cell,
    overall_table,
    problems_table,
)
from medcnn.report.run_files import RunFiles, read_run
from medcnn.report.runs import Run
from medcnn.report.words import Record, listed, plural, words_of

HUB = {  # our figures by the names that the Hugging Face hub has for them
    "auroc": "roc_auc", "accuracy": "accuracy", "f1": "f1", "mcc": "matthews_correlation",
    "brier": "brier_score", "mae": "mae", "r2": "r_squared",
}  # fmt: skip
MODEL = ("library", "name", "depth", "width", "stem", "head", "dropout", "cut")  # keys of a config
CLASSES = 20  # that a table by class has room for
SEAL = "<!-- made by medcnn, not edited: {} -->"


def write_model_card(run: Path) -> Path:
    """Writes ``MODEL_CARD.md`` into a run directory.

    Its sections are those of M. Mitchell et al., "Model cards for model reporting", 2019, with a
    head as the Hugging Face hub reads it. What no file knows is left to the author, in lines that
    begin with "To be filled in by the author". A card that somebody has edited is kept; the new one
    is then ``MODEL_CARD_new.md``.

    Args:
        run: The directory of a finished run.

    Returns:
        Path of the file.

    Raises:
        UserError: No such folder, no finished run, or no evaluation.json that can be read.
    """
    made = environment(
        autoescape=False
    )  # Markdown: `markdown` and `table` make what they show harmless
    made.filters |= {"markdown": markdown, "table": table}
    text = made.get_template("model_card.md.j2").render(**_content(Run(run, read_run(run))))
    text = re.sub(r"\n{3,}", "\n\n", text).strip() + "\n\n"
    out = run / "MODEL_CARD.md"
    if edited(out):
        out = run / "MODEL_CARD_new.md"
    write_text(out, text + _seal(text) + "\n")
    return out


def edited(path: Path) -> bool:
    """Whether a file is there and isn't, letter by letter, as `write_model_card` left it."""
    if not path.exists():
        return False
    text = path.read_text(encoding="utf-8")
    body = text[: text.rfind(SEAL.partition("{")[0])]
    return text != body + _seal(body) + "\n"


def markdown(value: Any) -> str:
    r"""Text that Markdown shows as it is, on one line.

    >>> markdown("a|b <i>")
    'a\\|b \\<i\\>'
    """
    line = " ".join(str(value).split())
    return re.sub(r"([\\`*<>|\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", line)


def table(content: Table) -> str:
    """A table in Markdown."""
    lines = [["", *content.head], ["---"] * (len(content.head) + 1)]
    for row in content.rows:
        cells = [f"{cell.value} {cell.below}" for cell in row.cells]
        lines.append([row.name, *cells])
    escaped = [[markdown(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def _seal(text: str) -> str:
    return SEAL.format(hashlib.sha256(text.encode()).hexdigest())


def _content(run: Run) -> dict[str, Any]:
    """What the template shows."""
    files = run.files
    evaluation, shown = files.evaluation, run_privacy.config(files.config)
    return {
        "head": _head(run),
        "title": _title(run),
        "details": list(_details(run, shown)),
        "command": run_privacy.command(files.environment.get("command") or []),
        "task": run.task,
        "groups": _groups(run),
        "metrics": [words_of(name) for name in _figures(run)],
        "intervals": [
            ("all other figures" if key == "*" else words_of(key).title, how)
            for key, how in (evaluation.get("intervals") or {}).items()
        ],
        "calls": _calls(run),
        "calibration": evaluation.get("calibration_applied"),
        "data": run.data,
        "split": run.split,
        "trained_on_it": "checkpoint" not in files.config and bool(files.config),
        "splits_by": (shown.get("splits") or {}).get("method"),
        "pseudonyms": shown.get("pseudonymise") is True,
        "data_table": data_table(files),
        "problems": problems_table(files),
        "levels": [_level(evaluation, name, level) for name, level in run.levels.items()],
        "warnings": _warnings(files),
        "version": __version__,
    }


def _title(run: Run) -> str:
    return f"{_name(run)} on {run.data}"


def _name(run: Run) -> str:
    model = run.files.config.get("model")
    return str(model.get("name") or "classifier") if isinstance(model, dict) else "classifier"


def _head(run: Run) -> str:
    """The front matter, without the licence."""
    figures = {name: run.figure(next(iter(run.levels)), name) for name in _figures(run)}
    known = {name: one["value"] for name, one in figures.items() if one.get("value") is not None}
    kind = "image-regression" if run.task == "regression" else "image-classification"
    result = {
        "task": {"type": kind, "name": f"{run.task} task"},
        "dataset": {"type": run.data, "name": run.data, "split": run.split},
        "metrics": [
            {"type": HUB.get(name, name), "name": words_of(name).title, "value": round(value, 4)}
            for name, value in known.items()
        ],
    }
    head: dict[str, Any] = {
        "library_name": "medcnn",
        "tags": ["medical-imaging", kind, "pytorch", "medcnn", _name(run)],
        "metrics": [HUB[name] for name in known if name in HUB],
    }
    if run.task != "regression":
        head["pipeline_tag"] = kind
    if known:
        head["model-index"] = [{"name": _title(run), "results": [result]}]
    return yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip()


def _figures(run: Run) -> list[str]:
    """The figures over all classes of the finest level."""
    return [
        name for name in next(iter(run.levels.values())).get("figures") or {} if "/" not in name
    ]


def _details(run: Run, shown: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Facts of the model that the run's files know."""
    files, names = run.files, run.class_names
    model, data = (shown.get(key) or {} for key in ("model", "dataset"))
    if model:
        yield "Network", _settings(model, MODEL)
    classes = listed(names) if len(names) <= CLASSES else f"{len(names)} classes"
    positive = f"; positive is {run.positive}" if run.positive else ""
    yield "Task", f"{run.task}: {classes}{positive}"
    if data.get("size"):
        dims = data.get("spatial_dims", 2)
        size = data["size"] if isinstance(data["size"], list) else [data["size"]] * dims
        normalised = f", normalised by {shown['normalise']}" if shown.get("normalise") else ""
        yield "Input", f"{' × '.join(map(str, size))} pixels in {dims} dimensions{normalised}"
    if model:
        start = (shown.get("transfer") or {}).get("mode", "scratch")
        weights = "published weights" if model.get("pretrained") or model.get("weights") else start
        yield "Start of the training", str(weights)
    for key in ("optimizer", "scheduler"):
        if isinstance(shown.get(key), dict) and "_target_" in shown[key]:
            yield key.capitalize(), _settings(shown[key])
    yield from _training(files, shown)
    libraries = files.environment.get("libraries") or {}
    if libraries:
        yield "Software", ", ".join(f"{name} {version}" for name, version in libraries.items())


def _training(files: RunFiles, shown: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, title in (("batch_size", "Batch size"), ("seed", "Seed")):
        if key in shown:
            yield title, str(shown[key])
    if files.epochs is not None:
        best = ""
        if "val/score" in files.epochs and files.epochs["val/score"].notna().any():
            best = f", the best of them {files.epochs['val/score'].idxmax()}"
        yield "Epochs", f"{len(files.epochs)}{best}"
    day = re.match(r"\d{4}-\d\d-\d\d", str(files.environment.get("time")))
    if day:
        yield "Date", day.group()
    if isinstance(files.status.get("seconds"), int | float):
        gpus = ", ".join(map(str, files.environment.get("gpus") or [])) or "the processor"
        yield "Training took", f"{files.status['seconds'] / 60:.1f} minutes on {gpus}"


def _settings(node: Mapping[str, Any], keys: tuple[str, ...] = ()) -> str:
    """The values of a part of a config, the name of its class first."""
    known = {k: v for k, v in node.items() if v not in (None, [], {})}
    name = str(known.pop("_target_", "")).rpartition(".")[2]
    chosen = {k: known[k] for k in keys if k in known} if keys else known
    words = [f"{key} {value}" if key != "name" else str(value) for key, value in chosen.items()]
    return ", ".join(words if keys else [name, *words])


def _groups(run: Run) -> list[str]:
    """What patients were told apart by, in the evaluation."""
    levels = run.levels.values()
    return list(
        dict.fromkeys(str(g["column"]) for one in levels for g in one.get("subgroups") or [])
    )


def _level(evaluation: Record, name: str, level: Record) -> dict[str, Any]:
    names = [str(one) for one in evaluation["class_names"]]
    told = dict(sentences(evaluation, name, level))
    return {
        "title": f"By {name}",
        "tested": told.pop("Tested on", ""),
        "sentences": told,
        "overall": _without_last_column(overall_table(level, {}, folds_of(evaluation, name))),
        "classes": class_table(level, names) if len(names) <= CLASSES else None,
        "clinic": clinic_table(level),
        "labels": bool((level.get("clinic") or {}).get("labels")),
        "subgroups": _subgroup_table(level),
    }


def _calls(run: Run) -> str:
    """At which thresholds decisions were made; empty without an operating point."""
    evaluation = run.files.evaluation
    if not evaluation.get("operating_point"):
        return ""
    return calls(evaluation, next(iter(run.levels.values())))


def _warnings(files: RunFiles) -> list[str]:
    notes = [run_privacy.without_paths(str(note)) for note in files.evaluation.get("notes") or []]
    shared = shared_patients(files)
    if shared:
        notes.append(f"{plural(shared, 'patient')} in more than one split: its figures flatter.")
    return notes


def _without_last_column(content: Table | None) -> Table | None:
    """Without how intervals were made, which the card says elsewhere."""
    if content is None:
        return None
    rows = [row._replace(cells=row.cells[:-1]) for row in content.rows]
    return Table(content.caption, content.head[:-1], rows)


def _subgroup_table(level: Record) -> Table | None:
    groups = [group for group in level.get("subgroups") or [] if group.get("shown", True)]
    keys = list(dict.fromkeys(key for group in groups for key in group.get("figures") or {}))
    rows = [
        Row(
            f"{group['column']} {group['group']}",
            [Cell(f"{group.get('n', 0):,}")]
            + [figure_cell(key, (group.get("figures") or {}).get(key)) for key in keys],
        )
        for group in groups
    ]
    return Table("", ["n", *(words_of(key).title for key in keys)], rows) if rows else None
