"""diagnosis.json: what the checks of a training found."""

from collections.abc import Sequence
from pathlib import Path

from medcnn.jobs.atomic_files import write_json
from medcnn.training.diagnosis.finding import Finding
from medcnn.training.diagnosis.parts import Parts


def write_findings(path: Path, parts: Parts, found: Sequence[Finding]) -> None:
    """Write what was checked, and of each check whether it passed, its line, cause and figures."""
    net = parts.classifier.net
    content = {
        "data": parts.samples.name,
        "model": parts.cfg.model.get("name") or getattr(net, "name", type(net).__name__),
        "task": parts.objective.task,
        "seed": parts.cfg.seed,
        "passed": not any(finding.passed is False for finding in found),
        "findings": [finding.plain() for finding in found],
    }
    write_json(path, content)
