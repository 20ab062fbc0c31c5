"""The page of a search: its trials, what mattered, and how far its winner can be trusted."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from medcnn.jobs.atomic_files import read_csv
from medcnn.jobs.progress import duration
from medcnn.report.comparison.figures import colour
from medcnn.report.pages import write_page
from medcnn.report.privacy import without_paths
from medcnn.report.runs import read_json
from medcnn.report.search import figures as charts
from medcnn.report.svg import bar
from medcnn.report.tables import Cell, Row, Table, figure_cell, headed
from medcnn.report.words import NOTHING, Record, in_words, listed, number, plural, show, words_of

SECTIONS = {
    "trust": "How far the winner can be trusted",
    "course": "The course of the search",
    "importance": "What mattered",
    "slices": "Score by each key",
    "trials": "All trials",
}
COMPARED = (
    "auroc",
    "r2",
    "accuracy",
    "sensitivity",
    "specificity",
    "mae",
)  # on validation and test
SAMPLERS = {
    "random": "random",
    "coarse_to_fine": "from coarse to fine",
    "tpe": "tree-structured Parzen estimator",
    "cma_es": "CMA-ES",
}
MOST = 300  # trials in the table


def write_search_page(folder: Path) -> Path:
    """Write ``search.html`` into the folder of a search, from the files that lie there.

    These are ``summary.csv``, ``search.json`` and ``search.yaml``; of a search that has ended also
    the ``metrics.json`` of its winner and of the winner's test.
    """
    return write_page(folder / "search.html", "search_page.html.j2", _content(folder))


def _content(folder: Path) -> dict[str, Any]:
    outcome = json.loads((folder / "search.json").read_text(encoding="utf-8"))
    settings = yaml.safe_load((folder / "search.yaml").read_text(encoding="utf-8"))
    table = read_csv(folder / "summary.csv", text=("state", "reason"))
    table = _without_paths(table, outcome["keys"])
    keys, shares = outcome["keys"], outcome.get("importance", {})
    done = table[table["state"] == "finished"].sort_values("score", ascending=False, kind="stable")
    best = outcome.get("winner", int(done["number"].iloc[0]) if len(done) else -1)
    failed = table[table["state"] == "failed"]
    shown = {
        "trust": _trust(folder, outcome, len(table)),
        "course": charts.history(table),
        "importance": charts.coordinates(table, keys, shares),
        "slices": charts.slices(table, [*shares, *(k for k in keys if k not in shares)], best),
        "trials": _trials(table, keys),
    }
    dataset = (settings.get("dataset") or {}).get("name") or "data"
    epochs = settings["trainer"]["max_epochs"]
    return {
        "title": f"Search: {dataset}",
        "subtitle": f"{SAMPLERS[outcome['sampler']]} · seed {settings['seed']} · {epochs} epochs",
        "verdict": _verdict(table, outcome, best),
        "failed": [
            (int(n), without_paths(str(why)))
            for n, why in zip(failed["number"], failed["reason"], strict=True)
        ],
        "sections": {name: title for name, title in SECTIONS.items() if shown[name]},
        "shares": _shares(shares),
        "hint": _hint(shares, len(done), keys),
        "colours": [colour(share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)],
        **shown,
    }


def _verdict(table: pd.DataFrame, outcome: Record, best: int) -> str:
    """Return how many trials ended how, in what time, and which is the best."""
    counts = table["state"].value_counts()
    ended = sum(int(counts.get(state, 0)) for state in ("finished", "pruned", "failed"))
    parts = [
        f"{counts[state]} {words}"
        for state, words in (
            ("finished", "ran to the end"), ("pruned", "were pruned"), ("failed", "failed"),
            ("running", "under way"), ("waiting", "waiting"),
        )
        if state in counts
    ]  # fmt: skip
    text = f"{ended} of {outcome['trials']} trials have ended, after {duration(outcome['seconds'])}"
    if outcome["budget"] is not None:
        text += f" of {duration(outcome['budget'])} allowed"
    text += f": {listed(parts)}." if parts else "."
    if best >= 0:
        (row,) = table[table["number"] == best].to_dict("records")
        drawn = [f"{k} {in_words(row[k])}" for k in outcome["keys"] if not _is_nothing(row[k])]
        text += f" The best is trial {best} (validation score {number(row['score'])}), with "
        text += f"{listed(drawn)}."
    return text


def _trust(folder: Path, outcome: Record, trials: int) -> dict[str, Any] | None:
    """Return the winner's figures on validation and test; None before it was tested."""
    winner = outcome.get("winner")
    tested = read_json(folder / "test" / "metrics.json", {})
    if winner is None or not tested:
        return None
    validated = read_json(folder / "trials" / f"{winner:04d}" / "metrics.json", {})
    rows = []
    for name in COMPARED:
        val, test = validated.get(f"val/{name}"), tested.get(f"test/{name}")
        if val and test and None not in (val["value"], test["value"]):
            gap = show(name, val["value"] - test["value"])
            cells = [figure_cell(name, val), figure_cell(name, test), Cell(gap)]
            rows.append(Row(words_of(name).title, cells))
    columns = headed("validation", "test", "validation − test")
    return {
        "trials": trials,
        "table": Table("", columns, rows, f"trial {winner}"),
        "ensemble": _ensemble(outcome.get("ensemble")),
        "final": outcome.get("final"),
    }


def _ensemble(found: Record | None) -> str:
    if not found:
        return "No mean of the best trials has a higher validation score than the winner alone."
    members = [
        f"trial {int(k)}" + (f" ({n} times)" if n > 1 else "") for k, n in found["members"].items()
    ]
    return (
        f"The mean of {listed(members)}, chosen greedily, has the validation score "
        f"{number(found['score'])}: checkpoint= of medcnn.evaluate and medcnn.predict takes the "
        "folder of this search. It is chosen on validation, too, and hasn't been tested."
    )


def _shares(shares: Record) -> Table | None:
    rows = [Row(k, [Cell(f"{100 * v:.0f} %", mark=bar(v))]) for k, v in shares.items()]
    return Table("", headed("importance"), rows, "key") if rows else None


def _hint(shares: Record, done: int, keys: list[str]) -> str:
    if not shares:
        return f"How much each key mattered isn't shown: {plural(done, 'trial')} ran to the end."
    text = "By functional ANOVA (F. Hutter, H. Hoos, K. Leyton-Brown, 2014), over the whole space."
    if done < 30:
        text += f" With {plural(done, 'trial')} this is a hint, not a finding."
    if left := [key for key in keys if key not in shares]:
        text += f" Without {listed(left)}, which not every trial has."
    return text


def _trials(table: pd.DataFrame, keys: list[str]) -> dict[str, Any]:
    """Return the rows of the table, the best first, then by their number."""
    order = {"finished": 0, "pruned": 1, "running": 2, "waiting": 3, "failed": 4}
    table = table.assign(order=table["state"].map(order), below=-table["score"].fillna(-1e300))
    table = table.sort_values(["order", "below", "number"])
    rows = []
    for row in table.head(MOST).to_dict("records"):
        ended = row["state"] == "finished"
        rows.append(
            {
                "number": int(row["number"]),
                "page": f"trials/{int(row['number']):04d}/report.html" if ended else None,
                "score": NOTHING if _is_nothing(row["score"]) else number(row["score"]),
                "state": row["state"],
                "epochs": int(row["epochs"]),
                "minutes": NOTHING if _is_nothing(row["seconds"]) else f"{row['seconds'] / 60:.1f}",
                "values": [in_words(None if _is_nothing(row[key]) else row[key]) for key in keys],
                "reason": "" if _is_nothing(row["reason"]) else without_paths(str(row["reason"])),
            }
        )
    return {"keys": keys, "rows": rows, "more": max(len(table) - MOST, 0)}


def _without_paths(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return a table in whose columns a word and a number stand for each path."""
    for key in keys:
        texts = [value for value in table[key].unique() if isinstance(value, str)]
        hidden = [value for value in texts if without_paths(value) != value]
        names = {value: f"{without_paths(value)} ({n})" for n, value in enumerate(hidden, 1)}
        table = table.assign(**{key: table[key].replace(names)}) if names else table
    return table


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)
