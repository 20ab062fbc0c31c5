"""Runs to compare, and the page of a comparison."""

from pathlib import Path
from typing import Any

from fixture_runs import HOME, PERSON, write_run
from html_page import Page

from medcnn.report.comparison.page import write_comparison


def pair(folder: Path, task: str = "binary", **changes: Any) -> list[Path]:
    """A good run and a bad one, of the same images."""
    good = write_run(folder / "good", task, seed=1, quality=2.5, **changes)
    return [good, write_run(folder / "bad", task, seed=2, quality=0.3, **changes)]


def page(runs: list[Path], **options: Any) -> Page:
    out = runs[0].parent / "pages" / "comparison.html"
    assert write_comparison(runs, out, **options) == out
    text = out.read_text(encoding="utf-8")
    for personal in (PERSON, HOME, "erika", "Mustermann", str(runs[0].parent), "500.png"):
        assert personal not in text
    assert "://" not in text
    return Page(text)


def sections(shown: Page) -> list[str]:
    return [str(attributes["id"]) for tag, attributes in shown.tags if tag == "section"]


def sweep(folder: Path, runs: int, overrides: Any = None) -> list[Path]:
    """Runs whose score depends on the learning rate alone."""
    made = []
    for k in range(runs):
        rate, model = 10.0 ** -(1 + k % 5), ("lenet", "vgg")[k % 2]
        given = (f"optimizer.lr={rate}", f"model={model}", "seed=0")
        score = 0.9 - 0.1 * abs(k % 5 - 2) + 0.001 * k
        settings = {"optimizer.lr": rate, "model.name": model}
        made.append(
            write_run(
                folder / f"{k}-phantom",
                seed=k,
                patients=24,
                score=score,
                config=settings,
                overrides=given if overrides is None else overrides,
            )
        )
    (folder / "summary.csv").write_text("run\n")
    return made
