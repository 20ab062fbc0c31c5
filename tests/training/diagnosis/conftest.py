"""The faults that scripts/benchmark_diagnosis.py plants."""

import jobs
import pytest


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(jobs.ROOT / "scripts"))
