"""What docs/ says holds: schemas, messages, notebooks."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import jobs
import jsonschema
import nbformat
import pandas as pd
import pytest
from fixture_runs import CLASSES, write_run
from nbclient import NotebookClient

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

DOCS = jobs.ROOT / "docs"
SCHEMAS = DOCS / "reference" / "schemas"


def check(name: str, content: Any) -> None:
    """Refuse content that the schema of that name doesn't describe."""
    jsonschema.validate(content, json.loads((SCHEMAS / f"{name}.schema.json").read_text()))


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as JSON would have them."""
    found: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    return found


def test_the_files_of_a_run_are_as_their_schemas_say(phantom_run: Path) -> None:
    for name in ("metrics", "evaluation"):
        check(name, json.loads((phantom_run / f"{name}.json").read_text()))
    for row in rows(pd.read_csv(phantom_run / "predictions.csv")):
        check("predictions", row)
    for row in rows(pd.read_csv(phantom_run / "health.csv")):
        check("health", row)
    figure = {"value": 0.5, "low": 0.4, "high": "0.6", "n": 3}
    with pytest.raises(jsonschema.ValidationError, match=r"'0\.6' is not of type"):
        check("metrics", {"test/auroc": figure})


@pytest.mark.parametrize("task", CLASSES)
def test_tables_of_every_task_are_as_the_schema_says(tmp_path: Path, task: str) -> None:
    run = write_run(tmp_path / "run", task)
    for row in rows(pd.read_csv(run / "predictions.csv")):
        check("predictions", row)


def test_the_messages_that_are_explained_are_those_of_the_code() -> None:
    files = sorted((jobs.ROOT / "medcnn").rglob("*.py"))
    code = re.sub(r'"\s*\n\s*f?"', "", "".join(file.read_text() for file in files))
    page = (DOCS / "how-to" / "troubleshooting.md").read_text()
    messages = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    parts = [part.strip() for message in messages for part in re.split("[…=]", message)]
    assert len(messages) > 30
    assert [part for part in parts if part not in code] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(DOCS.glob("notebooks/*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert path.stat().st_size < 300_000
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
