"""How a training configured itself: the choices of its plan, each with its reason."""

from typing import Any

import yaml

from medcnn.report.privacy import config, without_paths
from medcnn.report.runs import Run
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


def plan_table(run: Run) -> Table | None:
    """Return the choices of a plan, with value and reason; None without a plan."""
    shown = [one for one in run.plan.get("choices", []) if config({one["key"].split(".")[0]: 0})]
    rows = [_row(one) for one in shown]
    return Table("Choices", headed("value", "reason"), rows) if rows else None


def _row(choice: Record) -> Row:
    value: Any = config({choice["key"]: choice["value"]})[choice["key"]]
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6).split("\n")[0]
    return Row(choice["key"], [Cell(text), Cell(without_paths(choice["reason"]))])
