"""Can maps be believed? Nets are trained, and all methods of maps scored on images they never saw.

python scripts/evidence_experiment.py --runs runs/evidence [--parts NAME …] [--data FOLDER]

Writes docs/evidence.csv, a row for each experiment, method and score: the mean over all test images
with its 95 % interval over patients. Trainings that are finished are not repeated, so the script
may be stopped and started again. Parts:

- phantom2d, phantom3d: synthetic films and CT volumes with known lesions.
- shortcut: films on which a marker tells lesion from normal with a probability of 0.5 (never mind),
  0.7, 0.85, 0.95 and 1; the maps of all these nets are scored on the same films, half of which
  have the marker whatever they show.
- brain: contrast-enhanced MRI with three kinds of tumour (J. Cheng, figshare 1512427), five folds
  by block of neighbouring slices, with the plain net and with the recipe that moves the evidence
  onto the lesion. FOLDER holds annotations.csv and the images.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
import pandas as pd
from hydra.core.hydra_config import HydraConfig

from medcnn.config import conf_dir
from medcnn.explain import main as explain
from medcnn.rundir import RunDir
from medcnn.train import train

NARROW = ("model=resnet", "model.width=0.25")
QUIET = ("logger=none", "cam.n=0", "near_duplicates=null", "trainer.accelerator=cpu")
STRENGTHS = (0.5, 0.7, 0.85, 0.95, 1.0)
MARKED = ("dataset=phantom", "dataset.size=48", "dataset.shortcut=0.5", "dataset.seed=1")
QUICK = (  # all methods but Score-CAM and occlusion, which take hundreds of passes an image
    "methods=[cam,gradcam,gradcampp,hirescam,xgradcam,layercam,ablationcam,eigencam,"
    "gradient,smoothgrad,integrated_gradients,guided_backprop]"
)
COLUMNS = ("experiment", "group", "method", "score", "value", "low", "high", "n")
BRAIN = (
    "dataset=csv",
    "dataset.columns.image=file",
    "dataset.columns.label=class",
    "dataset.columns.patient=block",
    "dataset.columns.box=[x_center,y_center,width,height]",
    "dataset.box_format=cxcywh",
    "dataset.box_unit=fraction",
    "dataset.size=128",
    "fold=all",
    "trainer.max_epochs=20",
    "model=resnet",
    "model.width=0.5",
)
RECIPES: dict[str, tuple[str, ...]] = {"plain": (), "recipe": ("experiment=local_evidence",)}


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--output", type=Path, default=Path("docs/evidence.csv"))
    options = parser.parse_args()
    for part in options.parts:
        for experiment, scores in PARTS[part](options):
            rows = [{"experiment": experiment, **row} for row in scores if row["class"] is None]
            keep(pd.DataFrame(rows)[list(COLUMNS)], options.output)


def keep(table: pd.DataFrame, output: Path) -> None:
    """Put an experiment's rows in place of those that it had."""
    if output.exists():
        before = pd.read_csv(output)
        table = pd.concat([before[before["experiment"] != table["experiment"].iloc[0]], table])
    table.round(4).to_csv(output, index=False)


def phantom(dims: int, options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Lesions known by construction."""
    run = options.runs / f"phantom{dims}d"
    trained(
        run, f"dataset.spatial_dims={dims}", *NARROW, *(["trainer.max_epochs=30"] * (dims == 3))
    )
    yield f"phantom {dims}-D", explained(run, "methods=all" if dims == 2 else QUICK, "sample=40")


def shortcut(options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Energy of the maps on the marker, by how much the marker tells."""
    for strength in STRENGTHS:
        run = options.runs / f"shortcut{strength}"
        trained(run, "dataset.size=48", f"dataset.shortcut={strength}", *NARROW)
        yield f"shortcut {strength}", explained(run, *MARKED, QUICK, "scores=shortcut", "n=8")


def brain(options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """The plain net and the recipe, five folds each."""
    if options.data is None:
        raise SystemExit("--data: the folder of annotations.csv and the images")
    for name, overrides in RECIPES.items():
        run = options.runs / f"brain-{name}"
        path = f"dataset.path='{options.data / 'annotations.csv'}'"
        trained(run, *BRAIN, path, *overrides, whole=True)
        smooth = "smooth=8" if name == "recipe" else "smooth=0"
        yield f"brain {name}", explained(run, QUICK, "sample=100", smooth, whole=True)


def trained(run: Path, *overrides: str, whole: bool = False) -> None:
    """Train unless that is done; `whole` is for all folds."""
    if RunDir(run).finished:
        return
    again = [f"resume='{run}'"] if (run / "config.yaml").exists() else None
    train(compose("train", again or [*QUIET, *overrides, f"paths.run='{run}'"]), [])


def explained(run: Path, *overrides: str, whole: bool = False) -> Any:
    """Scores of the maps of a run's best checkpoint."""
    checkpoint = run if whole else run / "checkpoints" / "best.ckpt"
    cfg = compose("explain", [f"checkpoint='{checkpoint}'", "accelerator=cpu", *overrides])
    return explain(cfg, [])["scores"]


def compose(root: str, overrides: Sequence[str]) -> Any:
    """The config that a command line would give."""
    HydraConfig.instance().cfg = None
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose(root, list(overrides))


PARTS: dict[str, Any] = {
    "phantom2d": lambda options: phantom(2, options),
    "phantom3d": lambda options: phantom(3, options),
    "shortcut": shortcut,
    "brain": brain,
}


if __name__ == "__main__":
    main()
