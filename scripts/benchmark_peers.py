"""How long the same training takes, from the command to its test: medcnn and two usual ways.

python scripts/benchmark_peers.py --data DIR [--epochs 5] [--rounds 1] [--output peers.csv]

DIR holds pneumoniamnist.npz. All train a ResNet-18 with a 3×3 stem from random weights on its
images of 28 px, with Adam at 0.001 and batches of 128, for so many epochs, and test the best of
them by its validation AUROC. Each is a process of its own, in turn; seconds are wall time, start-up
included.

    medcnn   python -m medcnn.train experiment=medmnist_benchmark, without maps
    monai    CacheDataset without metadata, DataLoader and a LightningModule with metrics of
             torchmetrics, 32 bits
    medmnist images of the package medmnist as PIL, by torchvision's transforms, in a bare loop that
             evaluates all three splits after each epoch, as the scripts of MedMNIST do; 32 bits

Nothing else should run meanwhile.
"""

import argparse
import copy
import json
import re
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

BATCH, RATE = 128, 1e-3
ENGINES = ("medcnn", "monai", "medmnist")
FIGURE = re.compile(r"AUROC (\d\.\d+)$", re.MULTILINE)


def resnet() -> nn.Module:
    """Return torchvision's ResNet-18 for grey images of 28 px: a 3×3 stem, and no pooling in it."""
    from torchvision.models import resnet18

    net = resnet18(num_classes=2)
    net.conv1 = nn.Conv2d(1, 64, 3, padding=1, bias=False)
    net.maxpool = nn.Identity()
    return net


def auroc(scores: Tensor, labels: Tensor) -> float:
    """Return the AUROC of logits (N, 2)."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels.numpy(), scores.softmax(1)[:, 1].numpy()))


def train_medmnist(data: Path, epochs: int) -> float:
    """Train as the scripts of MedMNIST do; return the AUROC on the test split."""
    from medmnist import PneumoniaMNIST
    from torchvision import transforms

    how = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])
    sets = {
        split: PneumoniaMNIST(split=split, root=str(data), transform=how, download=False)
        for split in ("train", "val", "test")
    }
    loaders = {split: DataLoader(one, BATCH) for split, one in sets.items()}
    shuffled = DataLoader(sets["train"], BATCH, shuffle=True)
    net, best, kept = resnet(), -1.0, {}
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    for _ in range(epochs):
        net.train()
        for images, labels in shuffled:
            optimizer.zero_grad()
            F.cross_entropy(net(images), labels.squeeze(1).long()).backward()
            optimizer.step()
        net.eval()
        figures = {split: _evaluated(net, loader) for split, loader in loaders.items()}
        if figures["val"] > best:
            best, kept = figures["val"], copy.deepcopy(net.state_dict())
    net.load_state_dict(kept)
    return _evaluated(net, loaders["test"])


@torch.no_grad()
def _evaluated(net: nn.Module, loader: Any) -> float:
    found = [(net(images), labels.squeeze(1)) for images, labels in loader]
    return auroc(*(torch.cat(part) for part in zip(*found, strict=True)))


def train_monai(data: Path, epochs: int) -> float:
    """Train as MONAI's and Lightning's tutorials do; return the AUROC on the test split."""
    import pytorch_lightning as pl
    from monai.data import CacheDataset
    from monai.data import DataLoader as MonaiLoader
    from monai.transforms import Compose, EnsureTyped, ScaleIntensityd
    from pytorch_lightning.callbacks import ModelCheckpoint
    from torchmetrics.classification import BinaryAUROC

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = resnet()
            self.figures = nn.ModuleDict({"val": BinaryAUROC(), "test": BinaryAUROC()})

        def training_step(self, batch: Any, _: int) -> Tensor:
            loss = F.cross_entropy(self.net(batch["image"]), batch["label"])
            self.log("train/loss", loss, on_epoch=True)
            return loss

        def _evaluate(self, batch: Any, split: str) -> None:
            figure = self.figures[split]
            figure.update(self.net(batch["image"]).softmax(1)[:, 1], batch["label"])
            self.log(f"{split}/auroc", figure, on_epoch=True)

        def validation_step(self, batch: Any, _: int) -> None:
            self._evaluate(batch, "val")

        def test_step(self, batch: Any, batch_idx: int) -> None:
            self._evaluate(batch, "test")

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), RATE)

    arrays = np.load(data / "pneumoniamnist.npz")
    # with metadata tracked, as is MONAI's default, an epoch takes several times as long
    how = Compose([ScaleIntensityd("image"), EnsureTyped("image", track_meta=False)])
    loaders = {}
    for split in ("train", "val", "test"):
        images, labels = arrays[f"{split}_images"][:, None], arrays[f"{split}_labels"].ravel()
        items = [
            {"image": image, "label": int(label)}
            for image, label in zip(images, labels, strict=True)
        ]
        held = CacheDataset(items, how, progress=False)
        loaders[split] = MonaiLoader(held, batch_size=BATCH, shuffle=split == "train")
    with tempfile.TemporaryDirectory() as folder:
        best = ModelCheckpoint(folder, monitor="val/auroc", mode="max")
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            callbacks=[best],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        module = Module()
        trainer.fit(module, loaders["train"], loaders["val"])
        (figures,) = trainer.test(module, loaders["test"], ckpt_path="best", verbose=False)
    return figures["test/auroc"]


def run(engine: str, data: Path, epochs: int) -> dict[str, Any]:
    """Train in a process of its own; return its row."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        command = [sys.executable, __file__, "--data", str(data), "--epochs", str(epochs)]
        command += ["--engine", engine]
        if engine == "medcnn":
            command = [sys.executable, "-m", "medcnn.train", "experiment=medmnist_benchmark"]
            command += ["dataset=pneumoniamnist", f"dataset.root='{data}'", "trainer=cpu"]
            command += [f"trainer.max_epochs={epochs}", "cam.n=0", f"paths.run='{path}'"]
        start = time.perf_counter()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - start
        if engine == "medcnn":
            metrics = json.loads((path / "metrics.json").read_text(encoding="utf-8"))
            figure = metrics["test/auroc"]["value"]
        else:
            figure = float(FIGURE.findall(done.stdout)[-1])
    return {"engine": engine, "epochs": epochs, "seconds": seconds, "auroc": figure}


def main() -> None:
    """Train in turn, and print the ratios of the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the MedMNIST file")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--output", type=Path, help="CSV file, a row a training")
    parser.add_argument("--engine", choices=ENGINES[1:], help=argparse.SUPPRESS)
    options = parser.parse_args()
    data = options.data.resolve()
    if options.engine:  # in a process of its own
        warnings.filterwarnings("ignore")
        train = {"monai": train_monai, "medmnist": train_medmnist}[options.engine]
        print(f"AUROC {train(data, options.epochs):.4f}", flush=True)
        return
    rows = []
    for _ in range(options.rounds):
        for engine in ENGINES:
            rows.append(run(engine, data, options.epochs))
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    table = pd.DataFrame(rows)
    table["processor"] = torch.backends.cpu.get_cpu_capability()
    table["threads"] = torch.get_num_threads()
    if options.output:
        table.to_csv(options.output, index=False, float_format="%.4f")
    seconds = table.groupby("engine")["seconds"].median()
    for engine in ENGINES[1:]:
        print(f"{engine}: {seconds[engine] / seconds['medcnn']:.2f} times as long as medcnn")


if __name__ == "__main__":
    main()
