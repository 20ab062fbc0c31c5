"""The page of a search, from files that are written here."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from html_page import Page

from medcnn.report.search.page import write_search_page

KEYS = ["optimizer.lr", "model", "model.depth", "model.weights"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A search of twelve trials, of which each third was pruned; one failed, one runs."""
    generator = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for number in range(12):
        state = "pruned" if number % 3 == 2 else "finished"
        rows.append(
            {
                "number": number,
                "state": state,
                "score": 0.5 + number / 100,
                "epochs": 3 if state == "pruned" else 9,
                "seconds": 600.0,
                "optimizer.lr": 10 ** generator.uniform(-4, -1),
                "model": ["lenet", "resnet"][number % 2],
                "model.depth": 18 if number % 2 else None,
                "model.weights": "/home/anna/a.pt" if number % 4 else None,
                "reason": "behind after epoch 3 of 9" if state == "pruned" else None,
            }
        )
    nothing = {"score": None, "epochs": 0, "seconds": None}
    rows.append({**rows[0], **nothing, "number": 12, "state": "failed"})
    rows[-1]["reason"] = "/home/anna/x.csv: <b>bad</b>"
    rows.append({**rows[0], **nothing, "number": 13, "state": "running"})
    pd.DataFrame(rows).to_csv(tmp_path / "summary.csv", index=False)
    (tmp_path / "search.yaml").write_text(
        "dataset: {name: films}\nseed: 3\ntrainer: {max_epochs: 9}\n"
    )
    outcome(tmp_path, finished=False)
    return tmp_path


def outcome(folder: Path, **facts: Any) -> None:
    usual = {"sampler": "tpe", "pruner": "asha", "trials": 14, "budget": 7200.0, "seconds": 3660.0}
    (folder / "search.json").write_text(json.dumps({**usual, "keys": KEYS, **facts}))


def test_a_search_that_goes_on(folder: Path) -> None:
    page = Page(write_search_page(folder).read_text())
    assert page.of("h1") == ["Search: films"]
    assert (
        "13 of 14 trials have ended, after 1 h 1 min of 2 h allowed: 8 ran to the end, 4 were "
        "pruned, 1 failed and 1 under way." in page.text
    )
    assert "The best is trial 10 (validation score 0.600), with optimizer.lr" in page.text
    assert "How far the winner can be trusted" not in page.text
    assert "anna" not in page.source
    assert "PATH: <b>bad</b>" in page.text
    assert "is a hint" not in page.text
    assert "isn't shown: 8 trials ran to the end" in page.text
    labels = page.labels("svg")
    assert sum(label.startswith("Validation score by") for label in labels) == 2 + 4
    assert "Validation score by model; 8 trials; the best has lenet" in labels


def test_the_winner_beside_its_test(folder: Path) -> None:
    for path, split, value in (("trials/0010", "val", 0.6), ("test", "test", 0.45)):
        (folder / path).mkdir(parents=True)
        figure = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 40}
        (folder / path / "metrics.json").write_text(json.dumps({f"{split}/auroc": figure}))
    shares = {"optimizer.lr": 0.75, "model": 0.25}
    ensemble = {"members": {"0010": 2, "0009": 1}, "score": 0.65}
    outcome(folder, finished=True, winner=10, importance=shares, ensemble=ensemble, final="folds")
    page = Page(write_search_page(folder).read_text())
    assert [text for text in page.of("td") if text.startswith("0.")][:3] == [
        "0.600",
        "0.450",
        "0.150",
    ]
    assert "The winner is the best of 14 trials" in page.text
    assert "The mean of trial 10 (2 times) and trial 9, chosen greedily" in page.text
    assert "75 %" in page.text
    assert "Without model.depth and model.weights, which not every trial has." in page.text
    links = [a["href"] for tag, a in page.tags if tag == "a" and "/" in str(a.get("href"))]
    assert links[:2] == ["test/report.html", "final/report.html"]
    assert "trials/0010/report.html" in links
    assert "trials/0002/report.html" not in links  # it was pruned
