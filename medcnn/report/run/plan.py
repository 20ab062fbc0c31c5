"""How a training configured itself: the choices of its plan, each with its reason."""

from typing import Any

import yaml

from medcnn.report.privacy import config, without_paths
from medcnn.report.runs import Run, read_epochs
from medcnn.report.tables import Cell, Row, Table, headed
from medcnn.report.words import Record


def plan_facts(run: Run) -> list[tuple[str, str]]:
    """Return what a plan saw: its budget, the data and the machine; empty without a plan."""
    if "choices" not in run.plan:
        return []
    facts = {
        "budget": f"{run.plan['budget'] / 60:.3g} min",
        **run.plan["data"],
        "machine": run.plan["machine"],
    }
    return [(name, without_paths(str(text))) for name, text in facts.items()]


def plan_notes(run: Run) -> list[str]:
    """Return sentences on trainings of a plan that ended before their last epoch."""
    if "choices" not in run.plan:
        return []
    most = (run.config.get("trainer") or {}).get("max_epochs")
    folds = sorted(run.path.glob("fold-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    sentences = []
    for path in folds or [run.path]:
        epochs = read_epochs(path / "metrics.csv")
        if epochs is not None and isinstance(most, int) and len(epochs) < most:
            which = f"fold {path.name.rpartition('-')[2]}" if folds else "the training"
            sentences.append(
                f"To be done in time, {which} ended after {len(epochs)} of {most} epochs: the "
                "machine was slower than when the plan was made"
            )
    return sentences


def plan_table(run: Run) -> Table | None:
    """Return the choices of a plan, with value and reason; None without a plan."""
    shown = [one for one in run.plan.get("choices", []) if config({one["key"].split(".")[0]: 0})]
    rows = [_row(one) for one in shown]
    return Table("Choices", headed("value", "reason"), rows) if rows else None


def _row(choice: Record) -> Row:
    value: Any = config({choice["key"]: choice["value"]})[choice["key"]]
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6).split("\n")[0]
    return Row(choice["key"], [Cell(text), Cell(without_paths(choice["reason"]))])
