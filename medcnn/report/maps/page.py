"""The page of an explanation: its scores, its galleries and what they mean, in one HTML file."""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medcnn._version import __version__
from medcnn.errors import UserError
from medcnn.jobs.atomic_files import write_text
from medcnn.jobs.progress import saying
from medcnn.report.maps.words import GROUPS, ROWS, Words, words_of
from medcnn.report.pages import environment

Record = dict[str, Any]
CEILING = "oracle"  # no rival of the methods


@dataclass(frozen=True)
class Cell:
    """One figure: value and interval as text, and whether it is the best of its column."""

    value: str = "–"
    interval: str = ""
    best: bool = False


@dataclass(frozen=True)
class Column:
    """One score: its words, the sign for which way is better, and how many images it rests on."""

    words: Words
    arrow: str
    n: str


@dataclass(frozen=True)
class Row:
    """The cells of one method or baseline."""

    name: str
    about: str
    cells: list[Cell]


@dataclass(frozen=True)
class Table:
    """Scores of one family."""

    caption: str
    head: str
    columns: list[Column]
    rows: list[Row]


@dataclass(frozen=True)
class Section:
    """What answers one question: tables over all images, and by true class."""

    title: str
    question: str
    tables: list[Table]
    by_class: list[tuple[str, list[Table]]]
    words: list[Words]
    has_best: bool


@saying("page")
def write_page(folder: Path) -> Path:
    """Writes ``index.html`` into the folder of an explanation, from what lies there.

    That is ``scores.json`` with ``settings`` (names to plain values), ``scores`` (records of group,
    method, score, class, value, low, high, n) and ``notes`` (sentences), and pictures
    ``gallery-<method>.png``. The page holds all it needs.

    Raises:
        UserError: No scores.json there, or one of another kind.
    """
    settings, scores, notes = _read(folder / "scores.json")
    page = (
        environment()
        .get_template("cam_page.html.j2")
        .render(
            title=f"Evidence: {settings.get('data', folder.name)}",
            summary=[*_summary(settings, scores), *notes],
            sections=_sections(scores),
            galleries=_galleries(folder, settings),
            settings=[(key.replace("_", " "), _plain(value)) for key, value in settings.items()],
            version=__version__,
        )
    )
    out = folder / "index.html"
    write_text(out, page)
    return out


def _read(path: Path) -> tuple[dict[str, Any], list[Record], list[str]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: make it with python -m medcnn.explain") from None
    except ValueError:
        raise UserError(f"{path} is damaged: it is no JSON file") from None
    keys = {"group", "method", "score", "class", "value", "low", "high", "n"}
    try:
        settings, scores, notes = (content[key] for key in ("settings", "scores", "notes"))
        good = isinstance(settings, dict) and all(keys <= set(record) for record in scores)
    except (KeyError, TypeError):
        good = False
    if not good:
        raise UserError(f"{path} holds no scores of an explanation: make it anew")
    return settings, scores, notes


def _summary(settings: dict[str, Any], scores: Sequence[Record]) -> list[str]:
    """What was done, and which method hits lesions most often, in sentences."""
    data = f"the {settings.get('split', 'chosen')} split of {settings.get('data', 'a data set')}"
    methods = settings.get("methods") or []
    sentences = [f"Maps of {data}, made by {_list(methods)}." if methods else f"Maps of {data}."]
    hits = [r for r in scores if r["score"] == "pointing_game" and r["class"] is None]
    rivals = [r for r in hits if r["method"] in methods and r["value"] is not None]
    if len(rivals) > 1:
        first = max(rivals, key=lambda record: record["value"])
        apart = _best(rivals, "higher") is first
        told = "lie below" if apart else "overlap with it, so that this may be chance"
        sentences.append(
            f"Of these methods {first['method']} hits the lesion most often, in "
            f"{100 * first['value']:.0f} % of the images; the intervals of the others {told}."
        )
    return sentences


def _sections(scores: Sequence[Record]) -> list[Section]:
    """The groups that there are, known ones first."""
    found = dict.fromkeys(record["group"] for record in scores)
    names = [*(g for g in GROUPS if g in found), *(g for g in found if g not in GROUPS)]
    return [_section(name, [r for r in scores if r["group"] == name]) for name in names]


def _section(name: str, records: Sequence[Record]) -> Section:
    title, question = GROUPS.get(name, (name.replace("_", " ").capitalize(), ""))
    tables = _tables([r for r in records if r["class"] is None])
    classes = dict.fromkeys(r["class"] for r in records if r["class"] is not None)
    by_class = [(c, _tables([r for r in records if r["class"] == c])) for c in classes]
    every = [*tables, *(table for _, several in by_class for table in several)]
    best = any(cell.best for table in every for row in table.rows for cell in row.cells)
    explained = _explained(records)
    return Section(title, question, tables, by_class, explained, best)


def _explained(records: Sequence[Record]) -> list[Words]:
    """What the scores are; those that are the same of many parts once, under the family's name."""
    same: dict[str, list[Words]] = {}
    for words in dict.fromkeys(words_of(record["score"]) for record in records):
        same.setdefault(words.what, []).append(words)
    return [
        words[0] if len(words) == 1 else replace(words[0], title=words[0].family)
        for what, words in same.items()
        if what
    ]


def _tables(records: Sequence[Record]) -> list[Table]:
    """One table a family of scores, a row a method."""
    families = dict.fromkeys(words_of(record["score"]).family for record in records)
    return [
        _table(family, [r for r in records if words_of(r["score"]).family == family])
        for family in families
    ]


def _table(caption: str, records: Sequence[Record]) -> Table:
    scores = list(dict.fromkeys(record["score"] for record in records))
    methods = sorted(dict.fromkeys(record["method"] for record in records), key=_order)
    arrows = {"higher": "↑", "lower": "↓", None: ""}
    columns: list[Column] = []
    cells: dict[tuple[Any, str], Cell] = {}
    for score in scores:
        column, words = [r for r in records if r["score"] == score], words_of(score)
        best = _best(column, words.better)
        cells |= {(r["method"], score): _cell(r, best=r is best) for r in column}
        least, most = (pick(r["n"] for r in column) for pick in (min, max))
        n = str(most) if least == most else f"{least} … {most}"
        columns.append(Column(words, arrows[words.better], n))
    rows = [
        Row(
            "the classifier" if method is None else method,
            "" if method is None else ROWS.get(method, ""),
            [cells.get((method, score), Cell()) for score in scores],
        )
        for method in methods
    ]
    return Table(caption, "decision of" if methods == [None] else "map", columns, rows)


def _order(method: str | None) -> int:
    """Methods stay as they come, baselines after them, the ceiling last."""
    return list(ROWS).index(method) if method in ROWS else -1


def _best(records: Sequence[Record], better: str | None) -> Record | None:
    """The record whose interval lies beyond those of all others; None if there is none."""
    rivals = [r for r in records if r["method"] != CEILING and r["value"] is not None]
    if better is None or len(rivals) < 2 or any(None in (r["low"], r["high"]) for r in rivals):
        return None
    sign, near, far = (1, "low", "high") if better == "higher" else (-1, "high", "low")
    first = max(rivals, key=lambda r: sign * r["value"])
    others = [r for r in rivals if r is not first]
    return first if all(sign * first[near] > sign * r[far] for r in others) else None


def _cell(record: Record, *, best: bool = False) -> Cell:
    if record["value"] is None:
        return Cell()
    bounds = (record["low"], record["high"])
    interval = "" if None in bounds else "[{:.3f}, {:.3f}]".format(*bounds)
    return Cell(f"{record['value']:.3f}", interval, best)


def _galleries(folder: Path, settings: dict[str, Any]) -> list[tuple[str, str]]:
    """Method and data URI of each picture, in the order of the settings."""
    files = {p.stem.removeprefix("gallery-"): p for p in sorted(folder.glob("gallery-*.png"))}
    methods = [m for m in settings.get("methods") or [] if m in files]
    methods += [m for m in files if m not in methods]
    return [
        (m, "data:image/png;base64," + base64.b64encode(files[m].read_bytes()).decode())
        for m in methods
    ]


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)


def _list(names: Iterable[str]) -> str:
    """``a, b and c``."""
    *most, last = map(str, names)
    return f"{', '.join(most)} and {last}" if most else last
