"""What ``import medcnn`` does."""

import os
import subprocess
import sys

import pytest

VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.mark.parametrize(("given", "expected"), [(None, "passive"), ("active", "active")])
def test_waiting_threads_sleep_unless_told_otherwise(given: str | None, expected: str) -> None:
    """Before PyTorch is loaded, which reads it then."""
    environment = {k: v for k, v in os.environ.items() if k not in VARIABLES}
    if given is not None:
        environment["OMP_WAIT_POLICY"] = given
    code = f"""import medcnn, os, sys
print(*(os.environ.get(name) for name in {VARIABLES}), 'torch' in sys.modules)"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    rounds = "1000" if given is None else "None"
    assert done.stdout.split() == [expected, rounds, "False"]
