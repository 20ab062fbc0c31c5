"""Kill a small training at random moments, go on with it, and compare with one left alone.

python scripts/kill_and_resume.py [--kills 20] [--seed 0] [--folder DIR] [override …]

Overrides are those of medcnn.train, such as average=swa or trainer=ddp trainer.devices=2; without
any, the training has a moving average of the weights, sharpness-aware minimisation, warm restarts,
balanced classes and mixed images. Each kill (SIGKILL) hits a run of its own, at a moment drawn from
the time between the first checkpoint and the end of the run left alone. Then the run is resumed,
and its weights, predictions and figures are compared to the bit; all of its files have to be whole.
Exits with 1 if one isn't.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # bits hold for a fixed number of threads

import numpy as np
import pandas as pd
import torch

SMALL = (
    "++dataset.size=28", "++dataset.patients=36", "++dataset.images_per_patient=2", "batch_size=8",
    "model=resnet", "model.width=0.125", "augment=standard", "cam.n=0", "trainer.max_epochs=6",
    "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.threads=1", "logger=none",
    "evaluation.resamples=20",
)  # fmt: skip
DEFAULT = (
    "average=ema", "optimizer=sam", "scheduler=cosine_restarts", "scheduler.cycles=2",
    "sampler=balanced", "regularise=mixup",
)  # fmt: skip
SAME = ("predictions.csv", "predictions_val.csv", "metrics.json", "samples.csv")


def main() -> None:
    """Train, kill, go on, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, help="for the runs; by default a temporary one")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    overrides = [*SMALL, *(options.overrides or DEFAULT)]
    with tempfile.TemporaryDirectory() as folder:
        table = compare(options.folder or Path(folder), options.kills, options.seed, overrides)
    print(table.to_string(index=False))
    print(f"{table['same'].sum()} of {len(table)} ended as the run left alone")
    sys.exit(0 if table["same"].all() else 1)


def compare(folder: Path, kills: int, seed: int, overrides: list[str]) -> pd.DataFrame:
    """Return a row for each kill: the moment, what there was then, and whether the end is the same.

    Args:
        folder: For the runs.
        kills: How many.
        seed: Of the moments.
        overrides: Of the training.
    """
    from medcnn.report.run import page  # noqa: F401 (so that the processes have all of it)
    from medcnn.training import cross_validation  # noqa: F401

    whole = folder / "whole"
    seconds = train(whole, overrides)
    moments = np.random.default_rng(seed).uniform(0, seconds, kills).round(3).tolist()
    rows = []
    for number, moment in enumerate(moments, 1):
        run = folder / f"kill-{number}"
        train(run, overrides, moment)
        there = state(run)
        if there["state"] != "finished":
            train(run, [f"resume={run}"] if there["state"] else [*overrides, "overwrite=true"])
        different = differences(whole, run)
        row = {"kill": number, "second": moment, **there, "same": not different}
        rows.append(row | {"different": ", ".join(different)})
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def train(run: Path, overrides: list[str], kill_after: float | None = None) -> float:
    """Train in a process of its own; gives the seconds from its first checkpoint to its end.

    Args:
        run: Its directory.
        overrides: Of the training.
        kill_after: Seconds from its first checkpoint to its end, if it hasn't ended before.

    Raises:
        RuntimeError: It failed by itself.
    """
    arguments = [f"paths.run={run}", *overrides]
    if any(one.startswith("resume=") for one in overrides):
        arguments = overrides
    log = run.with_suffix(".log")
    fork = multiprocessing.get_context("fork")  # what is imported here needn't be there
    process = fork.Process(target=_train, args=(arguments, log))
    process.start()
    while process.is_alive() and not (run / "checkpoints" / "last.ckpt").exists():
        time.sleep(0.002)
    start = time.monotonic()
    process.join(kill_after)
    if process.exitcode is None:
        process.kill()
        process.join()
    elif process.exitcode != 0:
        raise RuntimeError(f"{' '.join(arguments)}: {log.read_text(encoding='utf-8')[-2000:]}")
    return time.monotonic() - start


def _train(arguments: list[str], log: Path) -> None:
    from medcnn.jobs import command_line as cli
    from medcnn.train import train as job

    with log.open("a", encoding="utf-8") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        sys.argv = ["train.py", *arguments]
        cli.main(job, "train")


def state(run: Path) -> dict[str, object]:
    """Return what a kill left: the status, the epochs in last.ckpt, and files that are damaged."""
    facts: dict[str, object] = {"state": "", "epochs": None}
    if (run / "status.json").exists():
        facts["state"] = json.loads((run / "status.json").read_text(encoding="utf-8"))["state"]
    if (run / "checkpoints" / "last.ckpt").exists():
        batches = weights(run, "last")["loops"]["fit_loop"]["epoch_progress"]["current"]
        facts["epochs"] = batches["processed"]
    return facts | {"damaged": ", ".join(damaged(run))}


def weights(run: Path, name: str) -> dict[str, object]:
    """Return the content of a checkpoint."""
    content: dict[str, object] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return content


def damaged(run: Path) -> list[str]:
    """Return the files of a run that can't be read."""
    found = []
    readers = {".ckpt": lambda path: torch.load(path, weights_only=True), ".csv": pd.read_csv}
    readers[".json"] = lambda path: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(run.rglob("*")):
        if path.suffix in readers and path.name[0] != "." and path.name != "problems.csv":
            try:
                readers[path.suffix](path)
            except Exception:  # whatever its reader raises
                found.append(path.name)
    return found


def differences(whole: Path, run: Path) -> list[str]:
    """Return what isn't the same to the bit, or can't be read, in two runs that are finished."""
    found = [name for name in SAME if (whole / name).read_bytes() != (run / name).read_bytes()]
    for name in sorted(path.stem for path in (whole / "checkpoints").glob("*.ckpt")):
        one, other = ({**weights(folder, name)["state_dict"]} for folder in (whole, run))
        if one.keys() != other.keys() or not all(torch.equal(one[k], other[k]) for k in one):
            found.append(f"{name}.ckpt")
    histories = [
        pd.read_csv(folder / "metrics.csv").drop(columns="seconds") for folder in (whole, run)
    ]
    if not histories[0].equals(histories[1]):
        found.append("metrics.csv")
    return found + damaged(run)


if __name__ == "__main__":
    main()
