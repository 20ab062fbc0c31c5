"""How a training configured itself, on the page of its run."""

from pathlib import Path
from typing import Any

from fixture_runs import HOME, PERSON, write_json, write_run
from html_page import Page

from medcnn.report.run.page import write_run_page


def choice(key: str, value: Any, reason: str = "") -> dict[str, Any]:
    return {"key": key, "value": value, "reason": reason, "rule": "one"}


def test_each_choice_has_its_reason(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert "How it configured itself" not in write_run_page(run).read_text(encoding="utf-8")
    choices = [
        choice("model.width", 0.25, "time for 18 passes"),
        choice("augment.flip", [-1]),
        choice("model.weights", f"{HOME}/net.pt", f"set by hand ({HOME}/x.yaml)"),
        choice("logger.wandb.entity", PERSON, "set by hand"),
    ]
    content = {
        "budget": 180.0, "data": {"images": "624 of 624 patients"}, "machine": "cpu, 2 threads",
        "choices": choices, "seconds": {"fold": 5.0, "end": 6.0},
    }  # fmt: skip
    write_json(run / "plan.json", content)
    text = Page(write_run_page(run).read_text(encoding="utf-8")).text
    assert "How it configured itself" in text
    for words in ("time for 18 passes", "0.25", "[-1]", "624 of 624 patients", "3 min"):
        assert words in text
    assert "the training ended after" not in text
    assert HOME not in text
    assert PERSON not in text


def test_what_had_to_end_early_is_said(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", config={"trainer.max_epochs": 40})
    content = {
        "budget": 180.0, "data": {}, "machine": "cpu", "choices": [choice("seed", 1)],
        "seconds": {"fold": 5.0, "end": 6.0},
    }  # fmt: skip
    write_json(run / "plan.json", content)
    text = Page(write_run_page(run).read_text(encoding="utf-8")).text
    assert "the training ended after 8 of 40 epochs" in text
