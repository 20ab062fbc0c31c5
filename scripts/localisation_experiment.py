"""Evidence moved onto the lesion without boxes in training: plain net, recipe, and its parts.

python scripts/localisation_experiment.py --data DIR --runs DIR [--recipes NAME …] [--folds all]

DIR holds annotations.csv and the images of brain tumours (J. Cheng, figshare 1512427): MRI slices
of three kinds of tumour with a box each, in blocks of neighbouring slices that are not torn apart.
Trains a net a fold, and writes docs/localisation.csv: accuracy and AUROC on blocks that the net
never saw, and the pointing game of Grad-CAM for the true class, of one map and of the mean over 8
shifted and mirrored copies, beside that of the image's centre. The boxes serve for that alone.
Finished trainings are not repeated. Five folds take about forty minutes (plain) and eighty (recipe)
on a core of a CPU with AVX2.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import hydra
import pandas as pd
from hydra.core.hydra_config import HydraConfig

from medcnn.explain import main as explain
from medcnn.jobs.instantiate import conf_dir
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.read import read
from medcnn.train import train

DATA = (
    "dataset=csv",
    "dataset.columns.image=file",
    "dataset.columns.label=class",
    "dataset.columns.patient=block",
    "dataset.columns.box=[x_center,y_center,width,height]",
    "dataset.box_format=cxcywh",
    "dataset.box_unit=fraction",
    "dataset.size=128",
)
TRAINING = (
    "logger=none",
    "cam.n=0",
    "near_duplicates=false",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.precision=32-true",
)
PLAIN = ("model=resnet", "model.width=0.5", "trainer.max_epochs=20")
LOCAL = "experiment=local_evidence"
RECIPES: dict[str, tuple[str, ...]] = {
    "plain": PLAIN,
    "local_evidence": (LOCAL,),
    # the plain net trained as long, and the recipe without one of its parts
    "plain-long": (*PLAIN, "trainer.max_epochs=40", "batch_size=16"),
    "whole-net": (LOCAL, "model.cut=null"),
    "mean-pooling": (LOCAL, "model.head=gap"),
    "lse-pooling": (LOCAL, "model.head=lse"),
    "light-augmentation": (LOCAL, "augment=light"),
}
SMOOTH = (0, 8)


def main() -> None:
    """Train and measure the recipes that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/localisation"))
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES)[:2])
    parser.add_argument("--folds", choices=["all", *"01234"], default="all")
    parser.add_argument("--output", type=Path, default=Path("docs/localisation.csv"))
    options = parser.parse_args()
    for name in options.recipes:
        run = options.runs / name / options.folds
        trained(run, options.data / "annotations.csv", options.folds, RECIPES[name])
        rows = [{"recipe": name, "folds": options.folds, **row} for row in measured(run)]
        keep(pd.DataFrame(rows), options.output)


def trained(run: Path, table: Path, fold: str, overrides: tuple[str, ...]) -> None:
    """Train unless that is done; go on with what was interrupted."""
    if RunDir(run).finished:
        return
    if (run / "config.yaml").exists():
        train(compose("train", f"resume='{run}'"), [])
        return
    where = (f"dataset.path='{table}'", f"fold={fold}", f"paths.run='{run}'")
    train(compose("train", *DATA, *overrides, *TRAINING, *where), [])


def measured(run: Path) -> list[dict[str, Any]]:
    """Figures of the decision, and of the maps of the images that a net never saw."""
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    rows = [
        {"figure": name, **{key: metrics[f"test/{name}"][key] for key in ("value", "low", "high")}}
        for name in ("accuracy", "auroc")
    ]
    whole = (run / "ensemble.json").exists()
    for smooth in SMOOTH:
        cfg = compose(
            "explain",
            f"checkpoint='{run if whole else RunDir(run).best}'",
            "methods=[gradcam]", "scores=[localisation]", f"smooth={smooth}", "n=0",
            f"output='{run / f'maps-{smooth}'}'", "accelerator=cpu",
        )  # fmt: skip
        for row in explain(cfg, [])["scores"]:
            if row["score"] == "pointing_game" and row["method"] in ("gradcam", "centre"):
                of = row["class"] or "all"
                name = f"pointing game: {row['method']}, smooth={smooth}, {of}"
                rows.append({"figure": name, **{key: row[key] for key in ("value", "low", "high")}})
    return rows


def keep(table: pd.DataFrame, output: Path) -> None:
    """Put a recipe's rows in place of those that it had."""
    if output.exists():
        before, first = pd.read_csv(output), table.iloc[0]
        same = (before["recipe"] == first["recipe"]) & (before["folds"] == first["folds"])
        table = pd.concat([before[~same], table])
    table.round(4).to_csv(output, index=False)


def compose(root: str, *overrides: str) -> Any:
    """Return the settings that a command line would give."""
    HydraConfig.instance().cfg = None
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return read(hydra.compose(root, list(overrides)), root)


if __name__ == "__main__":
    main()
