"""The page of a diagnosis: each check with its outcome, and pictures of the signal by stage."""

import json
from pathlib import Path
from typing import Any

from medcnn.report.diagnosis import figures as charts
from medcnn.report.pages import write_page
from medcnn.report.words import Record, plural

SECTIONS = {
    "checks": "Checks",
    "inputs": "Inputs",
    "activations": "Activations by stage",
    "gradients": "Gradients by stage",
    "learning": "A few images learnt by heart",
    "rates": "Loss by learning rate",
}
SIGNS = {True: ("✓", "passed"), False: ("✗", "failed"), None: ("–", "can't tell")}


def write_diagnosis_page(folder: Path) -> Path:
    """Write ``diagnosis.html`` into a folder, from the ``diagnosis.json`` that lies there."""
    content = json.loads((folder / "diagnosis.json").read_text(encoding="utf-8"))
    return write_page(folder / "diagnosis.html", "diagnosis.html.j2", _content(content))


def _content(diagnosis: Record) -> dict[str, Any]:
    findings = diagnosis["findings"]
    figures = {one["check"]: one["figures"] for one in findings}
    stages = figures.get("activations", {}).get("stages", [])
    shown: dict[str, Any] = {
        "checks": [(*SIGNS[one["passed"]], one) for one in findings],
        "inputs": charts.inputs(figures.get("inputs", {})),
        "activations": charts.activations(stages),
        "gradients": charts.gradients(stages),
        "learning": charts.learning(
            figures.get("overfitting", {}), figures.get("loss at the start", {}).get("chance")
        ),
        "rates": charts.rates(figures.get("learning-rate range", {})),
    }
    failed = [one for one in findings if one["passed"] is False]
    done = sum(one["passed"] is not None for one in findings)
    return {
        "title": f"Diagnosis: {diagnosis['data']}",
        "subtitle": f"{diagnosis['model']} · {diagnosis['task']} task · seed {diagnosis['seed']}",
        "verdict": f"{plural(done, 'check')} done, {len(failed) or 'none'} found a fault.",
        "failed": failed,
        "sections": {name: title for name, title in SECTIONS.items() if shown[name]},
        **shown,
    }
