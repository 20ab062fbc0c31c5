"""A plan of 20 minutes beside the best of a search of 45: the same images, the same test patients.

python scripts/plan_against_search.py --data DIR [--output docs/plan_against_search.csv]
                                      [--only NAME …] [--runs runs/plan_against_search]

DIR holds brain_tumor/ and nih_chestxray_1000/. The sets: brain (MRI of three kinds of tumour, with
blocks of neighbouring slices as patients), chest (X-rays with 14 findings) and phantom3d (synthetic
CT volumes of 24 voxels an edge). Two commands, on one thread each and by default side by side:

python -m medcnn.train plan=auto budget=20min
python -m medcnn.search search=tpe search.pruner=asha search.budget=45min 'search.space=…'

Both have the same splits by patient. The plan may make folds of what is there to train and to
validate on; a trial trains on the one and is judged on the other. The test patients are looked at
at the end: by the plan's model, by the best trial, and, where the search writes one, by its
ensemble.

A row a method: figures of the test with 95 % intervals and the validation figure, both as in
plan_ablation.py, wall seconds (of a search those of its trials), and the plan's AUROC less that of
the method, by the bootstrap over patients with the same resamples for both. The search brings files
to 64 px; the plan chooses. Sets that are in the table are not computed again; what was interrupted
goes on.
"""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
from plan_ablation import (
    PHANTOM,
    TESTED,
    auroc,
    brain,
    chest,
    command,
    drawn,
    machine,
    metrics_of,
    validation,
    with_interval,
)

from medcnn.jobs.rundir import RunDir

SETS = ("brain", "chest", "phantom3d")
SIZE = "dataset.size=64"  # of the search's files
SPACE = {
    "model.width": "[0.25,0.5,1.0]",
    "model.depth": "[18,34]",
    "optimizer.lr": "{low: 1e-4, high: 1e-2, log: true}",
    "optimizer.weight_decay": "{low: 1e-4, high: 1e-1, log: true}",
    "batch_size": "[16,32,64]",
    "augment": "[none,light,standard,strong]",
    "average": "[none,ema]",
    "trainer.max_epochs": "{low: 10, high: 40, step: 10, int: true}",
}
EPOCHS = 40  # the most, of which the pruner looks at a ninth and a third
TRIALS = 1000  # more than there is time for


def main() -> None:
    """Do whatever the table lacks, and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the real images")
    parser.add_argument("--output", type=Path, default=Path("docs/plan_against_search.csv"))
    parser.add_argument("--only", nargs="+", choices=SETS, default=SETS, help="data sets")
    parser.add_argument("--runs", type=Path, default=Path("runs/plan_against_search"))
    parser.add_argument("--budget", default="20min", help="of the plan")
    parser.add_argument("--search-budget", default="45min", help="of all trials")
    parser.add_argument(
        "--jobs", type=int, choices=(1, 2), default=2, help="at a time, a core each"
    )
    options = parser.parse_args()
    table = pd.read_csv(options.output) if options.output.exists() else pd.DataFrame()
    for name in options.only:
        key = {"data": name, "budget": options.budget, "search_budget": options.search_budget}
        if len(table) and (table[[*key]] == [*key.values()]).all(axis=1).any():
            continue
        folder = options.runs.resolve() / "-".join(key.values())
        if error := carry_out(name, options, folder):
            print(f"{folder}: {error}", flush=True)
            continue
        rows = pd.DataFrame([key | row for row in results(folder)])
        table = pd.concat([table, rows], ignore_index=True)
        table.round(4).to_csv(options.output, index=False)
    if len(table):
        print(table.to_string(index=False))


def overrides_of(name: str, data: Path, folder: Path) -> list[str]:
    """Write the data of a set into a folder, where they aren't made, and return their overrides."""
    if name == "phantom3d":
        return PHANTOM
    of = {"brain": brain, "chest": chest}[name]
    return of(data, folder, lambda table: drawn(table, TESTED, seed=0))


def carry_out(name: str, options: argparse.Namespace, folder: Path) -> str:
    """Plan and search a set in a folder, as far as that isn't done; return why it failed, if so."""
    of = {}
    for method in ("plan", "search"):  # each with a cache of its own: reading files takes its time
        (own := folder / f"{method}-data").mkdir(parents=True, exist_ok=True)
        of[method] = overrides_of(name, options.data.resolve(), own)
    plan = [*of["plan"], "plan=auto", f"budget={options.budget}", f"paths.run='{folder}/plan'"]
    if (folder / "plan" / "config.yaml").exists():
        plan = [f"resume='{folder}/plan'"]
    space = ", ".join(f"{key}: {values}" for key, values in SPACE.items())
    search = [
        *of["search"], *([SIZE] if name != "phantom3d" else []), f"search.space={{{space}}}",
        "search=tpe", "search.pruner=asha", f"search.budget={options.search_budget}",
        f"search.trials={TRIALS}", f"dataset.epochs={EPOCHS}", f"output='{folder}/search'",
    ]  # fmt: skip
    to_do = {"medcnn.train": plan, "medcnn.search": search}
    if RunDir(folder / "plan").finished:
        del to_do["medcnn.train"]
    with ThreadPoolExecutor(options.jobs) as pool:
        logs = [folder / f"{module}.log" for module in to_do]
        errors = [*pool.map(command, to_do, to_do.values(), logs)]
    there = (folder / "search" / "ensemble.json").exists()
    if not any(errors) and there and not RunDir(folder / "ensemble").finished:
        where = [f"checkpoint='{folder}/search'", f"paths.run='{folder}/ensemble'"]
        where += [f"cache.folder='{folder}/search-data/cache'"]
        log = folder / "medcnn.evaluate.log"
        errors = [command("medcnn.evaluate", [*where, "overwrite=true"], log)]
    return "; ".join(filter(None, errors))


def results(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a set: of the plan, of the best trial, and of the search's ensemble."""
    plan, search = folder / "plan", folder / "search"
    folds = (plan / "ensemble").is_dir()
    tested = {"plan": plan / "ensemble" if folds else plan, "best trial": search / "test"}
    outcome = json.loads((search / "search.json").read_text(encoding="utf-8"))
    trials = pd.read_csv(search / "summary.csv").set_index("number")
    known = {"plan": validation(plan), "best trial": trials["score"][outcome["winner"]]}
    if outcome["ensemble"] is not None:
        tested["search's ensemble"] = folder / "ensemble"
        known["search's ensemble"] = outcome["ensemble"]["score"]
    budget = json.loads((plan / "budget.json").read_text(encoding="utf-8"))
    own, rows = auroc(tested["plan"]), []
    for method, run in tested.items():
        is_plan, values, loss = method == "plan", auroc(run), metrics_of(run)["test/log_loss"]
        row = {"method": method, "trials": 0 if is_plan else len(trials)}
        row |= {"validation": known[method], **with_interval("auroc", values)}
        row |= {} if is_plan else with_interval("plan_less_this", own - values)
        row |= {
            "log_loss": loss["value"],
            "log_loss_low": loss["low"],
            "log_loss_high": loss["high"],
        }
        row |= {"seconds": round(budget["spent"] if is_plan else outcome["seconds"])}
        rows.append(row | machine(plan))
    return rows


if __name__ == "__main__":
    main()
