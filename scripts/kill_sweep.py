"""Sweep on a Ray cluster of three nodes and kill one; sweep on submitit and kill a job.

python scripts/kill_sweep.py [--runs 12] [--engines ray slurm] [--folder DIR]
                             [--out docs/sweep_kills.csv] [override …]

The cluster is a real one, of three nodes with a core each, all on this machine. Once a quarter of
the runs are finished, a node is killed (SIGKILL) with all that runs on it; with submitit, on its
local executor, a job with its run. The run that is hit is between its first epoch and its last. At
the end all runs have to be finished, the summary has to have a row of each, and each epoch has to
be logged once. Exits with 1 if that isn't so. Overrides are those of medcnn.train; without any a
small net trains on the phantom.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

NODES, EPOCHS = 3, 6
SMALL = (
    "++dataset.size=28", "++dataset.patients=72", "++dataset.images_per_patient=2", "batch_size=8",
    "model=resnet", "model.width=0.125", "logger=none", f"trainer.max_epochs={EPOCHS}", "cam.n=0",
    "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.threads=1",
    "diagnosis.at_start=false", "evaluation.resamples=20",
)  # fmt: skip
LOOK = 0.05  # seconds


def main() -> None:
    """Sweep on each engine, check, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--engines", nargs="+", default=["ray", "slurm"])
    parser.add_argument("--folder", type=Path, help="for the runs; by default a temporary one")
    parser.add_argument("--out", type=Path, help="a CSV file for the outcome")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    overrides = options.overrides or list(SMALL)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.engines:
            folder = (options.folder or Path(temporary)) / name
            run = {"ray": on_ray, "slurm": on_submitit}[name]
            rows.append(
                {"engine": name, "runs": options.runs, **run(folder, options.runs, overrides)}
            )
            print(pd.Series(rows[-1]).to_string(), flush=True)
    table = pd.DataFrame(rows)
    if options.out:
        table.to_csv(options.out, index=False)
    fine = (table["finished"] == options.runs) & (table["in_summary"] == options.runs)
    sys.exit(0 if (fine & (table["exit_code"] == 0) & (table["epochs_wrong"] == 0)).all() else 1)


def on_ray(folder: Path, runs: int, overrides: list[str]) -> dict[str, Any]:
    """Sweep on a cluster of three nodes, of which one is killed."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(NODES - 1)]

    def kill(sweep: psutil.Popen) -> str | None:
        """Kill the last node with all of its processes, where a run there is under way."""
        raylets = [info.process.pid for each in nodes[-1].all_processes.values() for info in each]
        processes = [one for pid in raylets for one in of_tree(pid)]
        if (run := running(processes, folder)) is not None:
            end(processes)
            cluster.remove_node(nodes[-1], allow_graceful=False)
        return run

    try:
        engine = ["engine=ray", f"engine.address={cluster.address}"]
        return swept(folder, runs, [*overrides, *engine], kill)
    finally:
        cluster.shutdown()


def on_submitit(folder: Path, runs: int, overrides: list[str]) -> dict[str, Any]:
    """Sweep on submitit's local executor, two jobs at once, of which one is killed."""

    def kill(sweep: psutil.Popen) -> str | None:
        """Kill the first job whose run is under way, with all of its processes."""
        for job in sweep.children():
            processes = of_tree(job.pid)
            if (run := running(processes, folder)) is not None:
                end(processes)
                return run
        return None

    engine = ["engine=slurm", "engine.cluster=local", "engine.workers=2"]
    return swept(folder, runs, [*overrides, *engine], kill)


def swept(
    folder: Path, runs: int, overrides: list[str], kill: Callable[..., str | None]
) -> dict[str, Any]:
    """Sweep over seeds, with a kill as soon as a quarter of the runs are finished.

    Args:
        folder: Of the sweep.
        runs: How many.
        overrides: Of medcnn.train.
        kill: Kills a part of it if a run is under way there, and gives its name.
    """
    folder.mkdir(parents=True)
    seeds = ",".join(map(str, range(runs)))
    command = [sys.executable, "-m", "medcnn.train", "-m", *overrides, f"seed={seeds}"]
    start, killed = time.monotonic(), None
    with (folder / "log").open("wb") as log:
        sweep = psutil.Popen([*command, f"paths.run={folder}"], stdout=log, stderr=log)
        while sweep.poll() is None:
            if killed is None and len(list(folder.glob("*/metrics.json"))) >= runs // 4:
                killed = kill(sweep)
            time.sleep(LOOK)
    seconds = round(time.monotonic() - start)
    sys.stdout.write((folder / "log").read_text(encoding="utf-8"))
    return {
        "seconds": seconds,
        "exit_code": sweep.returncode,
        "killed": killed,
        "begun_again": begun_again(folder),
        **check(folder),
    }


def of_tree(pid: int) -> list[psutil.Process]:
    """Return a process and all that it has started, and these; none if it is gone."""
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.Error:
        return []


def end(processes: list[psutil.Process]) -> None:
    """Kill processes."""
    for one in processes:
        with suppress(psutil.Error):
            one.kill()


def running(processes: list[psutil.Process], folder: Path) -> str | None:
    """Return the name of a run in a folder that one of the processes trains, between two epochs."""
    for one in processes:
        with suppress(psutil.Error):
            words = [word.rpartition("=")[2] for word in one.cmdline()]
            if "medcnn.jobs.engines.child" in words:
                history = next(
                    (f for f in folder.glob("*/metrics.csv") if str(f.parent) in words), None
                )
                lines = history.read_text(encoding="utf-8").splitlines() if history else []
                if history and 2 <= len(lines) <= EPOCHS:
                    return history.parent.name
    return None


def begun_again(folder: Path) -> int:
    """Return how often a run went on in another process, by the logs of the jobs."""
    words = [path.read_text(encoding="utf-8") for path in folder.glob("logs/*.log")]
    return sum(text.count(": python -m medcnn.train ") - 1 for text in words)


def check(folder: Path) -> dict[str, int]:
    """Return what a sweep has left."""
    states = pd.read_csv(folder / "summary.csv")["state"]
    tables = [pd.read_csv(path)["epoch"].tolist() for path in folder.glob("*/metrics.csv")]
    return {
        "in_summary": len(states),
        "finished": int((states == "finished").sum()),
        "epochs_wrong": sum(table != list(range(1, len(table) + 1)) for table in tables),
    }


if __name__ == "__main__":
    main()
