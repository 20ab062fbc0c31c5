"""Kill the workers of a search again and again, and compare it with one that was left alone.

python scripts/kill_search.py [--trials 40] [--workers 2] [--every 60] [--seed 0] [--folder DIR]
                              [--out docs/search_kills.csv] [override …]

Every so many seconds one of the workers, drawn at random, is killed (SIGKILL), and another begins
by the same command. The sampler is the random one, without pruning. At the end each trial has to
have run to its last epoch, each once, with the draws and the validation score, to the bit, of the
search left alone, and the winner has to be the same. Exits with 1 if that isn't so. Overrides are
those of medcnn.search; without any it trains a small net on the phantom.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # bits hold for a fixed number of threads

import pandas as pd

SMALL = (
    "++dataset.size=28", "++dataset.patients=72", "++dataset.images_per_patient=2", "batch_size=8",
    "model=resnet", "model.width=0.125", "logger=none", "trainer.max_epochs=8",
    "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.threads=1",
    "diagnosis.at_start=false", "evaluation.resamples=20",
)  # fmt: skip
FIXED = ("search=random", "search.pruner=none", "search.stale=15")


def main() -> None:
    """Search twice, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=float, default=60, help="seconds from kill to kill")
    parser.add_argument("--seed", type=int, default=0, help="of who is killed")
    parser.add_argument("--folder", type=Path, help="for the searches; by default a temporary one")
    parser.add_argument("--out", type=Path, help="a CSV file for the outcome")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    overrides = [*(options.overrides or SMALL), *FIXED, f"search.trials={options.trials}"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        start = time.monotonic()
        killed, whole = folder / "killed", folder / "whole"
        kills = search(killed, overrides, options.workers, options.every, options.seed)
        seconds = time.monotonic() - start
        search(whole, overrides, options.workers)
        row = {
            "trials": options.trials,
            "workers": options.workers,
            "kills": kills,
            "seconds": round(seconds),
            **compare(killed, whole),
        }
    print(pd.Series(row).to_string())
    if options.out:
        pd.DataFrame([row]).to_csv(options.out, index=False)
    fine = row["same_draws"] and row["same_scores"] and row["same_winner"]
    sys.exit(0 if fine and row["finished"] == options.trials and row["done_twice"] == 0 else 1)


def search(
    folder: Path, overrides: list[str], workers: int, every: float | None = None, seed: int = 0
) -> int:
    """Search with some workers until all of them have ended; return how many were killed.

    Args:
        folder: Of the search.
        overrides: Of the search.
        workers: At once.
        every: Seconds after which one of them is killed and replaced; None for no kills.
        seed: Of who it is.

    Raises:
        RuntimeError: One of them failed by itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn, kills = random.Random(seed), 0
    log = folder.with_suffix(".log").open("ab")
    command = [sys.executable, "-m", "medcnn.search", *overrides, f"output={folder / 'search'}"]

    def begin() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(command, stdout=log, stderr=log)

    running, last = [begin() for _ in range(workers)], time.monotonic()
    while running:
        time.sleep(0.2)
        for one in [one for one in running if one.poll() is not None]:
            running.remove(one)
            if one.returncode:
                raise RuntimeError(f"a worker ended with {one.returncode}: see {log.name}")
        if running and every is not None and time.monotonic() - last >= every:
            one = drawn.choice(running)
            one.kill()
            one.wait()
            running[running.index(one)] = begin()
            kills, last = kills + 1, time.monotonic()
    return kills


def compare(killed: Path, whole: Path) -> dict[str, object]:
    """Return what came of the trials, and whether it is what came of those left alone."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    tables = [pd.read_csv(one / "search" / "summary.csv") for one in (killed, whole)]
    journal = JournalStorage(JournalFileBackend(str(killed / "search" / "journal.log")))
    (study,) = optuna.get_all_study_names(journal)
    every = optuna.load_study(study_name=study, storage=journal).trials
    done = Counter(t.user_attrs["number"] for t in every if t.state.name == "COMPLETE")
    epochs = [pd.read_csv(path)["epoch"] for path in killed.glob("search/trials/*/metrics.csv")]
    repeated = sum(one.tolist() != list(range(1, len(one) + 1)) for one in epochs)
    draws = [table.filter(like=".") for table in tables]
    scores = [table["score"] for table in tables]
    return {
        "taken_over": sum("repeats" in t.user_attrs for t in every),
        "finished": int((tables[0]["state"] == "finished").sum()),
        "done_twice": sum(count > 1 for count in done.values()) + repeated,
        "same_draws": draws[0].equals(draws[1]),
        "same_scores": scores[0].equals(scores[1]),
        "same_winner": scores[0].idxmax() == scores[1].idxmax(),
    }


if __name__ == "__main__":
    main()
