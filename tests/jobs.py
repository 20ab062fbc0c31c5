"""Whole jobs in this process, on tiny data: what the end-to-end tests share."""

import json
import runpy
import signal
import sys
from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pandas as pd
import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict
from torch import Tensor, nn

from medcnn.data.image import Image, ImageSpec
from medcnn.data.prepared.geometry import own_grid
from medcnn.data.samples import SPLITS, Samples
from medcnn.jobs import command_line as cli
from medcnn.jobs.instantiate import conf_dir
from medcnn.jobs.settings.read import read
from medcnn.nets import Net
from medcnn.nets.heads import LinearHead
from medcnn.nets.pretrained.weights import rename
from medcnn.objective import UNKNOWN

ROOT = Path(__file__).resolve().parents[1]

PHANTOM = ("++dataset.size=28", "++dataset.patients=36", "++dataset.images_per_patient=2")
PLAIN = (
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "trainer.threads=1",
    "trainer.max_epochs=2",
    "batch_size=16",
    "logger=none",
    "evaluation.resamples=50",
    "diagnosis.at_start=false",
)
QUICK = (*PHANTOM, *PLAIN, "model=lenet", "cam.n=0")  # the smallest job that does everything
SIZES = (32, 16, 13)  # images of the splits of a small MedMNIST-like file
CHANNELS_LAST = {"pathmnist", "dermamnist", "retinamnist", "bloodmnist"}  # the sets in colour


def compose(root: str, *overrides: str) -> Any:
    """Return the settings of conf/<root>.yaml with overrides, as the command line reads them."""
    return read(composed(root, *overrides), root)


def composed(root: str, *overrides: str) -> DictConfig:
    """Return the config of conf/<root>.yaml with overrides, as Hydra composes it."""
    HydraConfig.instance().cfg = None  # what a command line before left behind
    return deepcopy(_composed(root, overrides))


@cache  # many trainings differ in their folder alone
def _composed(root: str, overrides: tuple[str, ...]) -> DictConfig:
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose(root, list(overrides))


def train(
    folder: Path,
    *overrides: str,
    trust: Iterable[str] = (),
    dataset: dict[str, Any] | None = None,
) -> Path:
    """Train in this process, on the phantom or what `dataset` says; gives the run directory back.

    Args:
        folder: The run directory.
        *overrides: As on the command line.
        trust: Names of the user's own classes.
        dataset: Stands for the whole config of the data set.
    """
    from medcnn.train import train as job

    cfg = composed("train", *overrides)
    cfg.paths.run = str(folder)
    if dataset is not None:
        with open_dict(cfg):
            cfg.dataset = dataset
    job(read(cfg, "train"), list(trust))
    return folder


def train_in_parts(
    folder: Path,
    *overrides: str,
    trust: Iterable[str] = (),
    dataset: dict[str, Any] | None = None,
) -> Path:
    """The same, interrupted at the second step of the second epoch, and resumed."""
    from medcnn.train import train as job

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        call_at(patch, 1, 1, stop)
        with pytest.raises(KeyboardInterrupt):
            train(folder, *overrides, trust=trust, dataset=dataset)
    job(compose("train", f"resume='{folder}'"), list(trust))
    return folder


def evaluate(folder: Path, *overrides: str, trust: Iterable[str] = ()) -> dict[str, Any]:
    """Evaluate in this process, on one thread; gives the figures back."""
    from medcnn.evaluate import evaluate as job

    base = ("accelerator=cpu", "threads=1", f"paths.run='{folder}'", "evaluation.resamples=50")
    return job(compose("evaluate", *base, *overrides), list(trust))


def explain(*overrides: str) -> dict[str, Any]:
    """Draw and score maps in this process; gives the scores back."""
    from medcnn.explain import main as job

    return job(compose("explain", "accelerator=cpu", *overrides), [])


def predict(*overrides: str) -> None:
    """Classify files in this process."""
    from medcnn.predict import predict as job

    job(compose("predict", "accelerator=cpu", *overrides), [])


def command(monkeypatch: Any, task: cli.Task, root: str, *arguments: str) -> int:
    """A command line in this process; gives its exit code back."""
    return exit_code(monkeypatch, lambda: cli.main(task, root), f"{root}.py", *arguments)


def module(monkeypatch: Any, name: str, *arguments: str) -> int:
    """``python -m NAME`` in this process; gives its exit code back."""
    return exit_code(
        monkeypatch, lambda: runpy.run_module(name, run_name="__main__"), name, *arguments
    )


def exit_code(monkeypatch: Any, start: Callable[[], object], *argv: str) -> int:
    """The exit code of what reads a command line."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", [*argv])
    handler = signal.getsignal(signal.SIGINT)
    try:
        start()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        signal.signal(signal.SIGINT, handler)
    return 0


def call_at(monkeypatch: Any, epoch: int, batch: int, happening: Callable[[], object]) -> None:
    """Let something happen at the start of a training step."""
    from medcnn.training.module import TrainingModule

    step = TrainingModule.training_step

    def interrupted(self: Any, images: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        if (self.current_epoch, index) == (epoch, batch):
            happening()
        return step(self, images, index)

    monkeypatch.setattr(TrainingModule, "training_step", interrupted)


def metrics(run: Path) -> dict[str, Any]:
    """What metrics.json of a run holds."""
    content: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return content


def status(run: Path) -> dict[str, Any]:
    """What status.json of a run holds."""
    content: dict[str, Any] = json.loads((run / "status.json").read_text())
    return content


def best(run: Path) -> str:
    """The override that names the best checkpoint of a run."""
    return f"checkpoint='{run / 'checkpoints' / 'best.ckpt'}'"


def checkpoint(run: Path, name: str = "best") -> dict[str, Any]:
    """A checkpoint of a run, as anyone can read it."""
    path = run / "checkpoints" / f"{name}.ckpt"
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def same_weights(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two state dicts hold the same numbers to the bit."""
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def patterns(labels: np.ndarray, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """uint8 noise images (N, *shape), brighter in a band that the label (N,) chooses."""
    images = np.random.default_rng(seed).integers(0, 120, (len(labels), *shape), np.uint8)
    for image, label in zip(images, labels, strict=True):
        start = 3 + 5 * int(label)
        image[start : start + 5] += 100
    return images


def write_medmnist(folder: Path, flag: str, labels: int | list[int], **options: Any) -> Path:
    """A file like those of MedMNIST, with learnable images.

    Args:
        folder: Becomes dataset.root.
        flag: Name of the set.
        labels: Number of classes, whose labels then alternate; or the labels of each split.
        **options: `sizes` of the splits, `columns` of the labels, `shape` of an image, `seed`.
    """
    sizes, seed = options.get("sizes", SIZES), options.get("seed", 0)
    shape = options.get("shape", (28, 28))
    arrays = {}
    for k, (split, size) in enumerate(zip(SPLITS, sizes, strict=True)):
        given = np.arange(size) % labels if isinstance(labels, int) else np.resize(labels, size)
        colour = (3,) if flag in CHANNELS_LAST else ()
        arrays[f"{split}_images"] = patterns(given, (*shape, *colour), 10 * seed + k)
        columns = options.get("columns", 1)
        if columns > 1:  # several findings at once: those of the class and of the one after it
            rows = np.eye(columns, dtype=np.uint8)
            arrays[f"{split}_labels"] = rows[given] | rows[(given + 1) % columns]
        else:
            arrays[f"{split}_labels"] = given[:, None].astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{flag}.npz", **arrays)
    return folder


def of_studies(table: Path, *more: str) -> tuple[str, ...]:
    """A job of a small net that takes all images of a table's studies; `more` has a batch_size."""
    plain = tuple(one for one in PLAIN if not one.startswith("batch_size"))
    return (
        *("dataset=csv", f"dataset.path='{table}'", "near_duplicates=false"),
        *(f"cache.folder='{table.parent / 'cache'}'", "model=lenet", "model.head=gap"),
        *(*plain, "model.aggregate=attention", *more),
    )


def uneven(folder: Path) -> tuple[str, ...]:
    """A job of LeNet, which has neither dropout nor batch norm, and learns in few steps.

    Of its 48, 21 and 61 images the last batch of 20 is one: a second process has none of it.
    """
    root = write_medmnist(folder, "breastmnist", 2, sizes=(48, 21, 61))
    data = ("dataset=breastmnist", f"dataset.root={root}", "dataset.download=false")
    return (*data, *PLAIN, "model=lenet", "optimizer.lr=0.01", "batch_size=20")


def toy(sizes: list[int], val_label: int | None = None) -> Samples:
    """A user's own data set: two classes, bright above or below.

    Args:
        sizes: Images of the three splits.
        val_label: Label of all images of the validation split; None for both.
    """
    splits = np.repeat(SPLITS, sizes)
    labels = np.arange(len(splits)) % 2
    if val_label is not None:
        labels[splits == "val"] = val_label
    images = torch.from_numpy(patterns(2 * labels, (20, 24), seed=1))[:, None]
    table = pd.DataFrame({"image": np.arange(len(splits)), "patient": np.arange(len(splits))})
    table["split"], table["label"] = splits, labels
    return Samples("toy", table, images, "binary", ("low", "high"), positive=1)


TOY = "jobs.toy"  # to be trusted


def not_samples() -> list[str]:
    """A user's function that returns something else."""
    return []


class SmallNet(nn.Module):
    """A user's own net: one convolution with batch norm, and dropout."""

    def __init__(
        self, in_channels: int, num_classes: int, dropout: float = 0.5, **given: Any
    ) -> None:
        super().__init__()
        convolution = nn.Conv2d(in_channels, 8, 3, padding=1)
        self.features = nn.Sequential(convolution, nn.BatchNorm2d(8), nn.ReLU())
        self.head = LinearHead(8, num_classes, dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, in_channels, H, W)."""
        logits: Tensor = self.head(self.features(images))
        return logits


SMALL_NET = "jobs.SmallNet"


def numbers(sizes: list[int], targets: int = 1) -> Samples:
    """A user's regression: the height of the bright band; every fourth label is unknown.

    Args:
        sizes: Images of the three splits.
        targets: 1, or 2: the height and, in another unit, its negative.
    """
    splits = np.repeat(SPLITS, sizes)
    heights = np.arange(len(splits)) % 5
    images = torch.from_numpy(patterns(heights, (28, 28), seed=2))[:, None]
    table = pd.DataFrame({"image": np.arange(len(splits)), "patient": np.arange(len(splits))})
    table["split"] = splits
    names = ("height", "depth")[:targets]
    for name, unit in zip(names, (10.0, -0.5), strict=False):
        label = np.where(np.arange(len(splits)) % 4 == 3, np.nan, 200 + unit * heights)
        table["label" if targets == 1 else f"label:{name}"] = label.astype(np.float32)
    masks = torch.zeros(len(splits), 28, 28, dtype=torch.bool)
    masks[:, :14] = True
    return Samples("numbers", table, images, "regression", names, masks=masks)


NUMBERS = "jobs.numbers"


def slices(sizes: list[int], shift: int = 0) -> Samples:
    """A user's volumes of two slices each, of which every third has no label.

    Args:
        sizes: Images of the three splits, even.
        shift: By how many places the images of unlabelled training slices change places.
    """
    splits = np.repeat(SPLITS, sizes)
    volumes = np.arange(len(splits)) // 2
    truth = volumes % 2
    labels = np.where(volumes % 3 == 1, UNKNOWN, truth)
    images = torch.from_numpy(patterns(2 * truth, (28, 28), seed=3))[:, None]
    hidden = np.flatnonzero((labels == UNKNOWN) & (splits == "train"))
    images[hidden] = images[np.roll(hidden, shift)]
    table = pd.DataFrame({"image": np.arange(len(splits)), "patient": volumes, "study": volumes})
    table["split"], table["label"] = splits, labels
    masks = torch.zeros(len(splits), 28, 28, dtype=torch.bool)
    masks[:, :14] = True
    return Samples("slices", table, images, "binary", ("low", "high"), positive=1, masks=masks)


SLICES = "jobs.slices"


def banded(rows: int, task: str = "multiclass", **options: Any) -> Samples:
    """Images whose bright band tells the class; two of each patient."""
    splits = np.repeat(SPLITS, [rows, 6, 6])
    labels = np.arange(len(splits)) // 2 % 3
    images = torch.from_numpy(patterns(labels, (28, 28), seed=1))[:, None]
    table = pd.DataFrame({"image": np.arange(len(splits)), "patient": np.arange(len(splits)) // 2})
    table["split"] = splits
    names: tuple[str, ...] = ("a", "b", "c")
    if task == "multilabel":
        for k, name in enumerate(names):
            unknown = np.arange(len(splits)) % 7 == k
            table[f"label:{name}"] = np.where(unknown, UNKNOWN, labels == k)
    elif task == "regression":
        table["label"], names = (10.0 * labels).astype(np.float32), ("height",)
    else:
        table["label"] = labels
    return Samples("banded", table, images, task, names, **options)  # type: ignore[arg-type]


def renamed_back(net: Net) -> dict[str, Tensor]:
    """The weights of a net under the names that were published."""
    inverse = {our: their for their, our in net.published_names.items()}
    assert len(inverse) == len(net.published_names)
    return rename(net.state_dict(), inverse)


def itk_image(values: np.ndarray, affine: np.ndarray) -> Any:
    """A volume, and how it lies (RAS+), in SimpleITK's terms."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(values.T)
    lps = np.diag([-1, -1, 1]) @ affine[:3]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    image.SetSpacing([float(s) for s in spacing])
    image.SetDirection((lps[:, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    return image


def prepared_affine(image: Image, spec: ImageSpec) -> np.ndarray | None:
    """From voxels of what `prepare` makes to mm in RAS+; None where the image doesn't say it."""
    _, points, affine = own_grid(image, spec)
    matrix = np.diag([*(along.step for along in points), 1.0])
    matrix[:3, 3] = [along.first for along in points]
    return None if affine is None else affine @ matrix
