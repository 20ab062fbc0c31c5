"""Can maps be believed? Nets are trained, and all methods of maps scored on images they never saw.

python scripts/evidence_experiment.py [--runs runs/evidence] [--brain FOLDER] [--parts NAME …]

Writes docs/evidence.csv, a row for each experiment, method and score: the mean over all test images
with its 95 % interval over patients. Trainings that are finished are not repeated, so the script
may be stopped and started again. Parts:

- phantom2d, phantom3d: synthetic films and CT volumes with known lesions.
- shortcut: films on which a marker tells lesion from normal with a probability of 0.5 (never mind),
  0.7, 0.85, 0.95 and 1; the maps of all these nets are scored on the same films, half of which
  have the marker whatever they show.
- brain: the nets of localisation_experiment.py, the plain one and its recipe, five folds of brain
  MRI each; FOLDER is where that wrote its runs.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
import pandas as pd
from hydra.core.hydra_config import HydraConfig

from medcnn.classifier.ensemble import FILE
from medcnn.explain import main as explain
from medcnn.jobs.instantiate import conf_dir
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.read import read
from medcnn.train import train

NARROW = ("model=resnet", "model.width=0.25")
QUIET = ("logger=none", "cam.n=0", "near_duplicates=false", "trainer.accelerator=cpu")
STRENGTHS = (0.5, 0.7, 0.85, 0.95, 1.0)
SMALL_CT = ("dataset.size=24", "dataset.patients=300", "model.width=0.125", "trainer.max_epochs=20")
MARKED = ("dataset=phantom", "dataset.size=48", "dataset.shortcut=0.5", "dataset.seed=1")
QUICK = (  # all methods but Score-CAM and occlusion, which take hundreds of passes an image
    "methods=[cam,gradcam,gradcampp,hirescam,xgradcam,layercam,ablationcam,eigencam,"
    "gradient,smoothgrad,integrated_gradients,guided_backprop]"
)
WITHOUT_PATHS = QUICK.replace("integrated_gradients,", "")  # which takes 32 passes and back
COLUMNS = ("experiment", "group", "method", "score", "value", "low", "high", "n")
AVERAGED = ("methods=[gradcam]", "smooth=8", "scores=[localisation]")
RECIPES: dict[str, tuple[str, Sequence[str]]] = {  # run, and how its maps are made
    "plain": ("plain", [WITHOUT_PATHS]),
    "local_evidence": ("local_evidence", [WITHOUT_PATHS.replace("[cam,", "[")]),  # has no CAM
    "local_evidence, mean over 8 copies": ("local_evidence", AVERAGED),
}


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--brain", type=Path, default=Path("runs/localisation"))
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
    trained(run, f"dataset.spatial_dims={dims}", *NARROW, *(SMALL_CT if dims == 3 else ()))
    fine = ("methods=[gradcam,gradcampp,hirescam,xgradcam,layercam]", "stage=layer2")  # 6×6×6
    how = ("methods=all", "sample=40") if dims == 2 else (*fine, "scores=[localisation]")
    yield f"phantom {dims}-D", explained(run, *how)


def shortcut(options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Energy of the maps on the marker, by how much the marker tells."""
    for strength in STRENGTHS:
        run = options.runs / f"shortcut{strength}"
        films = ("dataset.size=48", f"dataset.shortcut={strength}")
        trained(run, *films, *NARROW)
        yield f"shortcut {strength}", explained(run, *MARKED, QUICK, "scores=shortcut", "n=8")


def brain(options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """The plain net and the recipe, five folds each."""
    for name, (run, how) in RECIPES.items():
        scores = explained(options.brain / run / "all", *how, "sample=100", "batch_size=64")
        yield f"brain MRI, {name}", scores


def trained(run: Path, *overrides: str) -> None:
    """Train unless that is done; go on with what was interrupted."""
    if RunDir(run).finished:
        return
    again = [f"resume='{run}'"] if (run / "config.yaml").exists() else None
    train(compose("train", again or [*QUIET, *overrides, f"paths.run='{run}'"]), [])


def explained(run: Path, *overrides: str) -> Any:
    """Scores of the maps of a run's best checkpoint, or of all its folds."""
    checkpoint = run if (run / FILE).exists() else run / "checkpoints" / "best.ckpt"
    cfg = compose("explain", [f"checkpoint='{checkpoint}'", "accelerator=cpu", *overrides])
    return explain(cfg, [])["scores"]


def compose(root: str, overrides: Sequence[str]) -> Any:
    """Return the settings that a command line would give."""
    HydraConfig.instance().cfg = None
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return read(hydra.compose(root, list(overrides)), root)


PARTS: dict[str, Any] = {
    "phantom2d": lambda options: phantom(2, options),
    "phantom3d": lambda options: phantom(3, options),
    "shortcut": shortcut,
    "brain": brain,
}


if __name__ == "__main__":
    main()
