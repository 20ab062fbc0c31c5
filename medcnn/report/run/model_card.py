"""The model card of a run: facts of its files, and questions to its author."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from medcnn.jobs.atomic_files import write_text
from medcnn.report import privacy
from medcnn.report.pages import render
from medcnn.report.run import tables
from medcnn.report.run.summary import calls, folds_of, sentences, warnings
from medcnn.report.runs import Run, best_epoch, read_run
from medcnn.report.tables import Table
from medcnn.report.words import listed, words_of

HUB = {  # our figures by the names that the Hugging Face hub has for them
    "auroc": "roc_auc", "accuracy": "accuracy", "f1": "f1", "mcc": "matthews_correlation",
    "brier": "brier_score", "mae": "mae", "r2": "r_squared",
}  # fmt: skip
MODEL = (
    "library",
    "name",
    "depth",
    "width",
    "stem",
    "head",
    "dropout",
    "cut",
    "aggregate",
    "fusion",
)  # keys of a config
CLASSES = 20  # that a table by class has room for
SEAL = "<!-- made by medcnn, not edited: {} -->"


def write_model_card(run: Path) -> Path:
    """Write ``MODEL_CARD.md`` into a run directory, and return its path.

    Its sections are those of M. Mitchell et al., "Model cards for model reporting", 2019, with a
    head as the Hugging Face hub reads it. What no file knows is left to the author, in lines that
    begin with "To be filled in by the author". A card that somebody has edited is kept; the new one
    is then ``MODEL_CARD_new.md``.

    Raises:
        UserError: No evaluation.json that can be read.
    """
    content = _content(read_run(run))
    text = render("model_card.md.j2", content, markdown=markdown, table=table)
    text = re.sub(r"\n{3,}", "\n\n", text).strip() + "\n\n"
    card = run / "MODEL_CARD.md"
    out = run / "MODEL_CARD_new.md" if edited(card) else card
    write_text(out, text + _seal(text) + "\n")
    return out


def edited(path: Path) -> bool:
    """Return True for a file that isn't, letter by letter, as `write_model_card` left it."""
    if not path.exists():
        return False
    text = path.read_text(encoding="utf-8")
    body = text[: text.rfind(SEAL.partition("{")[0])]
    return text != body + _seal(body) + "\n"


def markdown(value: Any) -> str:
    r"""Return text that Markdown shows as it is, on one line.

    >>> markdown("a|b <i>")
    'a\\|b \\<i\\>'
    """
    line = " ".join(str(value).split())
    return re.sub(r"([\\`*<>|\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", line)


def table(content: Table) -> str:
    """Return a table in Markdown, between empty lines."""
    titles = [column.words.title for column in content.columns]
    lines = [["", *titles], ["---"] * (len(titles) + 1)]
    for row in content.rows:
        lines.append([row.name, *(f"{cell.value} {cell.below}" for cell in row.cells)])
    escaped = [[markdown(cell) for cell in line] for line in lines]
    texts = [f"| {' | '.join(line)} |" for line in escaped]
    return "\n".join(["", *texts, "\n"])


def _seal(text: str) -> str:
    return SEAL.format(hashlib.sha256(text.encode()).hexdigest())


def _content(run: Run) -> dict[str, Any]:
    shown = privacy.config(run.config)
    groups = [group for level in run.levels.values() for group in level.get("subgroups") or []]
    return {
        "head": _head(run),
        "title": _title(run),
        "details": list(_details(run, shown)),
        "command": privacy.command(run.environment.get("command") or []),
        "groups": list(dict.fromkeys(str(group["column"]) for group in groups)),
        "metrics": [words_of(name) for name in _figures(run)],
        "intervals": run.intervals,
        "calls": calls(run),
        "calibration": run.evaluation.get("calibration_applied"),
        "data": run.data,
        "trained_on_it": "checkpoint" not in run.config and bool(run.config),
        "splits_by": (shown.get("splits") or {}).get("method"),
        "pseudonyms": shown.get("pseudonymise") is True,
        "data_table": tables.data_table(run),
        "problems": tables.problems_table(run),
        "levels": [_level(run, name) for name in run.levels],
        "warnings": warnings(run),
    }


def _title(run: Run) -> str:
    return f"{_name(run)} on {run.data}"


def _name(run: Run) -> str:
    model = run.config.get("model")
    return str(model.get("name") or "classifier") if isinstance(model, dict) else "classifier"


def _head(run: Run) -> str:
    """Return the front matter, without the licence."""
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
    """Return the figures over all classes of the finest level."""
    return [
        name for name in next(iter(run.levels.values())).get("figures") or {} if "/" not in name
    ]


def _details(run: Run, shown: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Return facts of the model, a name and a value each."""
    names = run.class_names
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
    if run.columns is not None:
        yield "Columns beside the image", listed(list(map(str, run.columns["column"])))
    if model:
        start = (shown.get("transfer") or {}).get("mode", "scratch")
        weights = "published weights" if model.get("pretrained") or model.get("weights") else start
        yield "Start of the training", str(weights)
    for key in ("optimizer", "scheduler", "average"):
        if isinstance(shown.get(key), dict) and shown[key].get("_target_"):
            yield key.capitalize(), _settings(shown[key])
    yield from _training(run, shown)
    libraries = run.environment.get("libraries") or {}
    if libraries:
        yield "Software", ", ".join(f"{name} {version}" for name, version in libraries.items())


def _training(run: Run, shown: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, title in (("batch_size", "Batch size"), ("seed", "Seed")):
        if key in shown:
            yield title, str(shown[key])
    if run.epochs is not None:
        best = best_epoch(run.epochs)
        beside = "" if best is None else f", the best of them {best}"
        yield "Epochs", f"{len(run.epochs)}{beside}"
    day = re.match(r"\d{4}-\d\d-\d\d", str(run.environment.get("time")))
    if day:
        yield "Date", day.group()
    if isinstance(run.status.get("seconds"), int | float):
        gpus = ", ".join(map(str, run.environment.get("gpus") or [])) or "the processor"
        yield "Training took", f"{run.status['seconds'] / 60:.1f} minutes on {gpus}"


def _settings(node: Mapping[str, Any], keys: tuple[str, ...] = ()) -> str:
    """Return the values of a part of a config, the name of its class first."""
    known = {k: v for k, v in node.items() if v not in (None, [], {})}
    name = str(known.pop("_target_", "")).rpartition(".")[2]
    chosen = {k: known[k] for k in keys if k in known} if keys else known
    words = [f"{key} {value}" if key != "name" else str(value) for key, value in chosen.items()]
    return ", ".join(words if keys else [name, *words])


def _level(run: Run, name: str) -> dict[str, Any]:
    level, names = run.levels[name], run.class_names
    answers = dict(sentences(run, name))
    return {
        "title": f"By {name}",
        "tested": answers.pop("Tested on", ""),
        "sentences": answers,
        "overall": tables.overall_table(level, folds_of(run, name)),
        "classes": tables.class_table(level, names) if len(names) <= CLASSES else None,
        "clinic": tables.clinic_table(level),
        "labels": bool((level.get("clinic") or {}).get("labels")),
        "subgroups": tables.subgroup_table(level),
    }
