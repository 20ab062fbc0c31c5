"""The page of an explanation: its scores, its galleries and their meaning, in one HTML file."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medcnn.jobs.progress import saying
from medcnn.report.maps.words import GROUPS, ROWS, words_of
from medcnn.report.pages import write_page
from medcnn.report.tables import Cell, Column, Row, Table, best_of, figure_cell
from medcnn.report.words import Record, Words, in_words, listed

CEILING = "oracle"  # no rival of the methods


class Section(NamedTuple):
    """The answer to one question: tables over all images, and by true class."""

    title: str
    question: str
    tables: list[Table]
    by_class: list[tuple[str, list[Table]]]
    words: list[Words]
    has_best: bool


@saying("page")
def write_cam_page(folder: Path) -> Path:
    """Write ``index.html`` into the folder of an explanation, from what lies there.

    That is ``scores.json`` with ``settings`` (names to plain values), ``scores`` (records of group,
    method, score, class, value, low, high, n) and ``notes`` (sentences), and pictures
    ``gallery-<method>.png``. The page holds all it needs.
    """
    found = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    settings, records, notes = (found[key] for key in ("settings", "scores", "notes"))
    scores, galleries = _sections(records), _galleries(folder, settings)
    sections = {"galleries": "Maps"} if galleries else {}
    sections |= {f"scores-{k}": section.title for k, section in enumerate(scores, 1)}
    content = {
        "title": f"Evidence: {settings.get('data', folder.name)}",
        "sections": sections | {"settings": "How it was made"},
        "summary": [*_summary(settings, records), *notes],
        "scores": scores,
        "galleries": galleries,
        "settings": [(k.replace("_", " "), in_words(v, "none")) for k, v in settings.items()],
    }
    return write_page(folder / "index.html", "cam_page.html.j2", content)


def _summary(settings: dict[str, Any], scores: Sequence[Record]) -> list[str]:
    """Return the maps that were made, and the method that hits lesions most often."""
    data = f"the {settings.get('split', 'chosen')} split of {settings.get('data', 'a data set')}"
    methods = settings.get("methods") or []
    sentences = [f"Maps of {data}, made by {listed(methods)}." if methods else f"Maps of {data}."]
    hits = [r for r in scores if r["score"] == "pointing_game" and r["class"] is None]
    rivals = [r for r in hits if r["method"] in methods and r["value"] is not None]
    if len(rivals) > 1:
        first = max(rivals, key=lambda record: record["value"])
        apart = best_of(rivals, 1) is first
        others = "lie below" if apart else "overlap with it, so that this may be chance"
        sentences.append(
            f"Of these methods {first['method']} hits the lesion most often, in "
            f"{100 * first['value']:.0f} % of the images; the intervals of the others {others}."
        )
    return sentences


def _sections(scores: Sequence[Record]) -> list[Section]:
    """Return a section for each group, known ones first."""
    found = dict.fromkeys(record["group"] for record in scores)
    names = [*(g for g in GROUPS if g in found), *(g for g in found if g not in GROUPS)]
    return [_section(name, [r for r in scores if r["group"] == name]) for name in names]


def _section(name: str, records: Sequence[Record]) -> Section:
    title, question = GROUPS.get(name, (name.replace("_", " ").capitalize(), ""))
    tables = _tables([r for r in records if r["class"] is None])
    classes = dict.fromkeys(r["class"] for r in records if r["class"] is not None)
    by_class = [(c, _tables([r for r in records if r["class"] == c])) for c in classes]
    every = [*tables, *(table for _, several in by_class for table in several)]
    best = any(table.has_bold for table in every)
    return Section(title, question, tables, by_class, _explained(records), best)


def _explained(records: Sequence[Record]) -> list[Words]:
    """Return words for the scores; the same for many parts once, under the family's name."""
    same: dict[str, list[Words]] = {}
    for words in dict.fromkeys(words_of(record["score"]) for record in records):
        same.setdefault(words.what, []).append(words)
    return [
        words[0] if len(words) == 1 else words[0]._replace(title=words[0].family)
        for what, words in same.items()
        if what
    ]


def _tables(records: Sequence[Record]) -> list[Table]:
    """Return one table a family of scores, a row a method."""
    families: dict[str, list[Record]] = {}
    for record in records:
        families.setdefault(words_of(record["score"]).family, []).append(record)
    return [_table(family, own) for family, own in families.items()]


def _table(caption: str, records: Sequence[Record]) -> Table:
    scores = list(dict.fromkeys(record["score"] for record in records))
    methods = sorted(dict.fromkeys(record["method"] for record in records), key=_order)
    columns: list[Column] = []
    cells: dict[tuple[Any, str], Cell] = {}
    for score in scores:
        column, words = [r for r in records if r["score"] == score], words_of(score)
        rivals = [r for r in column if r["method"] != CEILING and r["value"] is not None]
        best = best_of(rivals, words.way)
        for r in column:
            cells[r["method"], score] = figure_cell("", r)._replace(bold=r is best)
        least, most = (pick(r["n"] for r in column) for pick in (min, max))
        n = str(most) if least == most else f"{least} … {most}"
        columns.append(Column(words, f"n = {n}"))
    rows = []
    for method in methods:
        about = ROWS.get(method, "")
        own = [cells.get((method, score), Cell()) for score in scores]
        rows.append(Row(method or "the classifier", own, about, "given" if about else None))
    return Table(caption, columns, rows, "decision of" if methods == [None] else "map")


def _order(method: str | None) -> int:
    """Return a key that keeps methods in place, baselines after them, the ceiling last."""
    return list(ROWS).index(method) if method in ROWS else -1


def _galleries(folder: Path, settings: dict[str, Any]) -> list[tuple[str, str]]:
    """Return method and data URI of each picture, in the order of the settings."""
    files = {p.stem.removeprefix("gallery-"): p for p in sorted(folder.glob("gallery-*.png"))}
    methods = dict.fromkeys([*(m for m in settings.get("methods") or [] if m in files), *files])
    return [
        (m, "data:image/png;base64," + base64.b64encode(files[m].read_bytes()).decode())
        for m in methods
    ]
