"""How long a training takes to start, beside the import of its libraries.

python scripts/benchmark_startup.py [--pairs 5] [--output startup.csv] [dataset=… key=value …]

Two processes take turns: one imports torch, pytorch_lightning and monai; the other is
``python -m medcnn.train``, with the given overrides, until its first training step. Each ends at
once when it has come so far, so that neither's time holds the interpreter's leaving.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORTS = "import torch, pytorch_lightning, monai, os; os._exit(0)"
REACHED = 64  # exit code that says: the first step was reached
FIRST_STEP = f"""
import os
from pytorch_lightning.callbacks import Callback

class FirstStep(Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        os._exit({REACHED})
"""


def import_seconds() -> float:
    """Seconds that a process needs to import the libraries."""
    return _seconds([sys.executable, "-c", IMPORTS], 0)


def training_seconds(overrides: list[str]) -> float:
    """Seconds from the command to the first training step."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "first_step.py").write_text(FIRST_STEP)
        command = [
            *(sys.executable, "-m", "medcnn.train", *overrides),
            f"paths.run={folder}/run",
            "+callbacks.first_step._target_=first_step.FirstStep",
            "trust=[first_step.FirstStep]",
        ]
        return _seconds(command, REACHED, PYTHONPATH=folder)


def _seconds(command: list[str], expected: int, **variables: str) -> float:
    """Seconds until a process ends, which has to be with the expected exit code."""
    start = time.perf_counter()
    done = subprocess.run(
        command, env=os.environ | variables, check=False, capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    if done.returncode != expected:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        sys.exit(f"{' '.join(command[1:3])} ended with exit code {done.returncode}: {last}")
    return seconds


def main() -> None:
    """Measure the pairs, print them and their medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "overrides", nargs="*", help="given to medcnn.train, as dataset=breastmnist"
    )
    parser.add_argument("--pairs", type=int, default=5, help="how often each is started")
    parser.add_argument("--output", type=Path, help="CSV file, one row a pair")
    arguments = parser.parse_args()
    if arguments.pairs < 1:
        parser.error(f"--pairs {arguments.pairs} is below 1")
    rows = []
    for _ in range(arguments.pairs):
        alone, whole = import_seconds(), training_seconds(arguments.overrides)
        rows.append((alone, whole, whole - alone))
        print(
            f"imports {alone:.2f} s, first step {whole:.2f} s, less imports {whole - alone:.2f} s"
        )
    alone, whole, less = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"medians: imports {alone:.2f} s, first step {whole:.2f} s, less imports {less:.2f} s")
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        lines = [",".join(f"{value:.3f}" for value in row) for row in rows]
        arguments.output.write_text("\n".join(["imports_s,first_step_s,difference_s", *lines, ""]))


if __name__ == "__main__":
    main()
