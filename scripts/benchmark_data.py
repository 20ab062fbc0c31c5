"""How fast images come from the disk to the device, beside MONAI and torchvision.

python scripts/benchmark_data.py [--cases 28 64 224 png dicom nifti] [--rounds 7] [--csv data.csv]

All engines make the same network inputs of the same synthetic files (checked first), change them at
random by the operations of ``augment=standard``, and bring batches to the device, in turn. A ratio
is that of two speeds of one round. The first round, which fills caches, doesn't count.

    medcnn              its data module, opened and cached as python -m medcnn.train does
    MONAI Dataset       each file read and prepared each epoch
    MONAI CacheDataset  prepared once and held in memory, with MONAI's defaults: metadata tracked
    MONAI untracked     the same, with set_track_meta(False) once the files are prepared
    torchvision         each file read each epoch, transforms v2 image by image; no volumes

medcnn always feeds from the main process: ``--workers`` are those of the others. Of MONAI's
transforms those of arrays are taken, faster than those of dictionaries. Nothing else should run.
"""

import logging
import math
import tempfile
import time
import warnings
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import uniform
from types import SimpleNamespace
from typing import Any, NamedTuple

import hydra
import monai.transforms as mt
import nibabel as nib
import numpy as np
import pandas as pd
import torch
from monai import data as md
from omegaconf import OmegaConf
from PIL import Image
from pydicom import dcmread, examples
from scipy.ndimage import zoom
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.io import decode_image
from torchvision.transforms import v2

from medcnn.data.open_data import in_memory, open_data
from medcnn.data.samples import Samples
from medcnn.jobs.atomic_files import write_csv
from medcnn.jobs.hardware import device_of
from medcnn.jobs.instantiate import conf_dir
from medcnn.jobs.settings.commands import Train
from medcnn.jobs.settings.read import read
from medcnn.training.from_config import make_data

CHECKED, TOLERANCE = 8, 0.03  # images that are compared first; how far apart (of 1) they may be
DEVICE, BYTES, HOUNSFIELD = device_of("auto"), (0, 255), (-1024, 3071)
STANDARD = OmegaConf.load(conf_dir() / "augment" / "standard.yaml")


class Case(NamedTuple):
    """What is fed: kind of file (array is none), edges as stored and as the network's input."""

    kind: str
    stored: tuple[int, ...]
    size: tuple[int, ...]
    values: tuple[int, int]  # that become 0 and 1
    batch_size: int
    images: int  # of an epoch


CASES = {
    "28": Case("array", (28, 28), (28, 28), BYTES, 128, 1024),
    "64": Case("array", (64, 64), (64, 64), BYTES, 128, 1024),
    "224": Case("png", (224, 224), (224, 224), BYTES, 32, 256),
    "png": Case("png", (512, 512), (224, 224), BYTES, 32, 128),
    "dicom": Case("dicom", (512, 512), (224, 224), HOUNSFIELD, 32, 128),
    "nifti": Case("nifti", (64, 64, 64), (64, 64, 64), HOUNSFIELD, 8, 32),
}


class Engine(NamedTuple):
    """One way to feed images."""

    plain: Tensor  # the first `CHECKED` images, not changed at random
    epoch: Callable[[], Iterator[Tensor]]  # gives batches on the device
    tracked: bool = True  # whether MONAI tracks metadata meanwhile, in the whole process

    def speed(self, seconds: float) -> float:
        """Images per second over one epoch, or as many as it takes to fill the seconds."""
        md.set_track_meta(self.tracked)
        images, start = 0, time.perf_counter()
        while not images or time.perf_counter() - start < seconds:
            images += sum(len(batch) for batch in self.epoch())
            if DEVICE.type == "cuda":
                torch.cuda.synchronize()
        elapsed = time.perf_counter() - start
        md.set_track_meta(True)
        return images / elapsed


def make_inputs(case: Case, count: int, folder: Path) -> Iterator[Any]:
    """Smooth random images with some noise: paths of files, or arrays (1, *stored)."""
    rng = np.random.default_rng(0)
    for number in range(count):
        smooth = zoom(rng.random([6] * len(case.stored)), [n / 6 for n in case.stored], order=1)
        values = np.interp(smooth + rng.normal(0, 0.02, smooth.shape), (0, 1), case.values)
        values, item = np.round(values), folder / f"{number:05}"
        if case.kind == "array":
            item = values[None].astype(np.uint8)
        elif case.kind == "png":
            Image.fromarray(values.astype(np.uint8)).save(item := item.with_suffix(".png"))
        elif case.kind == "dicom":
            image = examples.ct  # a fresh one; slope 1, intercept -1024
            image.set_pixel_data((values + 1024).astype(np.uint16), "MONOCHROME2", 16)
            image.save_as(item := item.with_suffix(".dcm"))
        else:
            volume = nib.Nifti1Image(values.astype(np.int16), np.diag([-1.0, -1.0, 2.0, 1.0]))
            nib.save(volume, item := item.with_suffix(".nii.gz"))
        yield item


def open_samples(case: Case, cfg: Train, items: list[Any], folder: Path) -> Samples:
    """As training has them; the last two images are those of validation and test."""
    table = pd.DataFrame({"image": items if case.kind != "array" else range(len(items))})
    table["patient"], table["label"] = table.index, table.index % 2
    table["split"] = ["train"] * (len(items) - 2) + ["val", "test"]
    if case.kind == "array":
        return Samples("array", table, torch.from_numpy(np.stack(items)), "binary", ("0", "1"))
    cfg.dataset["path"], cfg.cache.folder = str(folder / "table.csv"), str(folder / "cache")
    cfg.dataset["size"], cfg.dataset["spatial_dims"] = list(case.size), len(case.size)
    cfg.dataset["intensity"] = "auto" if case.kind == "png" else list(case.values)
    table.to_csv(cfg.dataset["path"], index=False)
    samples = open_data(cfg, checked=False).samples
    in_memory(samples, cfg.cache.memory)
    return samples


def medcnn_engine(case: Case, items: list[Any], folder: Path) -> Engine:
    """What ``python -m medcnn.train augment=standard`` feeds its steps with."""
    settings = [
        "dataset=csv",
        "dataset.path=x",
        "augment=standard",
        f"batch_size={case.batch_size}",
    ]
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = read(hydra.compose("train", settings), "train")
    data: Any = make_data(cfg, open_samples(case, cfg, items, folder), [])
    data.trainer = SimpleNamespace(training=False, current_epoch=0, global_rank=0, world_size=1)
    loader = data.train_dataloader()

    def on_device(batch: Any) -> Tensor:
        batch = data.transfer_batch_to_device(batch, DEVICE, 0)
        return data.on_after_batch_transfer(batch, 0)["image"]

    def epoch() -> Iterator[Tensor]:
        data.trainer.training, data.trainer.current_epoch = True, data.trainer.current_epoch + 1
        loader.sampler.set_epoch(data.trainer.current_epoch)
        return map(on_device, loader)

    return Engine(on_device(loader.dataset[data.samples.rows("train")[:CHECKED]]).cpu(), epoch)


def monai_prepare(case: Case) -> list[Any]:
    """MONAI's way to the network's input; Resize takes means over areas, its default."""
    readers: Any = {"png": md.PILReader(reverse_indexing=False), "nifti": md.NibabelReader()}
    readers["dicom"] = md.PydicomReader(swap_ij=False)  # else its columns become rows
    load = mt.LoadImage(readers.get(case.kind), image_only=True, ensure_channel_first=True)
    steps: list[Any] = [] if case.kind == "array" else [load]
    if case.kind == "nifti":
        steps += [mt.Orientation("SPL", labels=(("L", "R"), ("P", "A"), ("I", "S")))]
    if case.size != case.stored:
        steps += [mt.Resize(case.size)]
    return [*steps, mt.ScaleIntensityRange(*case.values, 0.0, 1.0, clip=True)]


def monai_change(size: tuple[int, ...]) -> list[Any]:
    """The nearest to ``augment=standard``, which scales all axes alike, and cuts to 0 … 1."""
    turns = [math.radians(STANDARD.rotate)] * (1 if len(size) == 2 else 3)
    shifts, scales = [STANDARD.translate * edge for edge in size], [STANDARD.scale] * len(size)
    return [
        mt.RandFlip(0.5, spatial_axis=len(size) - 1),
        mt.RandAffine(1.0, turns, None, shifts, scales, size, padding_mode="zeros"),
        # an image's own extremes are taken for 0 and 1
        mt.RandAdjustContrast(1.0, gamma=(1 - STANDARD.gamma, 1 + STANDARD.gamma)),
        mt.RandScaleIntensityFixedMean(1.0, factors=STANDARD.contrast),
        mt.RandShiftIntensity(STANDARD.brightness, prob=1.0),
        mt.RandGaussianNoise(1.0, std=STANDARD.noise),
    ]


def _loaded(plain: Tensor, loader: Any, tracked: bool = True) -> Engine:
    return Engine(plain, lambda: (images.to(DEVICE) for images, _ in loader), tracked)


def monai_engines(case: Case, items: list[Any], loading: dict[str, Any]) -> dict[str, Engine]:
    """MONAI's data sets behind its own loader, by name."""
    first: Any = torch.stack(list(map(mt.Compose(monai_prepare(case)), items[:CHECKED])))

    def engine(kind: Any, *between: Any, tracked: bool = True, **options: Any) -> Engine:
        chain = mt.Compose([*monai_prepare(case), *between, *monai_change(case.size)])
        labelled = md.ZipDataset([kind(items, chain, **options), [0, 1] * len(items)])
        return _loaded(first.as_tensor(), md.DataLoader(labelled, **loading), tracked)

    plain = mt.EnsureType(track_meta=False)
    return {
        "MONAI Dataset": engine(md.Dataset),
        "MONAI CacheDataset": engine(md.CacheDataset, progress=False),
        "MONAI untracked": engine(md.CacheDataset, plain, tracked=False, progress=False),
    }


class TorchvisionImages(Dataset[tuple[Tensor, int]]):
    """Images that torchvision reads, prepares and changes when they are asked for."""

    def __init__(self, case: Case, items: list[Any]) -> None:
        self.case, self.items = case, items
        shift, scale = [STANDARD.translate] * 2, (1 - STANDARD.scale, 1 + STANDARD.scale)
        affine = v2.RandomAffine(STANDARD.rotate, shift, scale, None, v2.InterpolationMode.BILINEAR)
        self.move = v2.Compose([v2.RandomHorizontalFlip(0.5), affine])
        jitter = v2.ColorJitter(STANDARD.brightness, STANDARD.contrast)  # brightness is a factor
        self.shade = v2.Compose([jitter, v2.GaussianNoise(0.0, STANDARD.noise)])  # always that SD

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        image = self.move(self.plain(self.items[number]))
        gamma = 1 + uniform(-STANDARD.gamma, STANDARD.gamma)
        return self.shade(v2.functional.adjust_gamma(image, gamma)), number % 2

    def plain(self, item: Any) -> Tensor:
        """The network's input (1, H, W), with pydicom for what torchvision can't read."""
        case, (low, high) = self.case, self.case.values
        if case.kind == "dicom":
            file = dcmread(item)
            image = torch.from_numpy(file.pixel_array.astype(np.float32))[None]
            image = image * float(file.RescaleSlope) + float(file.RescaleIntercept)
        else:
            image = torch.from_numpy(item) if case.kind == "array" else decode_image(str(item))
        if case.size != case.stored:
            image = v2.functional.resize(image, list(case.size), antialias=True)
        return ((image.float() - low) / (high - low)).clamp(0, 1)


def make_engines(case: Case, items: list[Any], folder: Path, workers: int) -> dict[str, Engine]:
    """All engines by name; forked workers keep MONAI's switch of metadata."""
    own = {"persistent_workers": True, "multiprocessing_context": "fork"} if workers else {}
    loading: Any = {"batch_size": case.batch_size, "shuffle": True, "num_workers": workers} | own
    engines = {"medcnn": medcnn_engine(case, items, folder)}
    engines |= monai_engines(case, items[:-2], loading)
    if len(case.size) == 2:
        images = TorchvisionImages(case, items[:-2])
        plain = torch.stack([images.plain(item) for item in images.items[:CHECKED]])
        engines["torchvision"] = _loaded(plain, DataLoader(images, **loading))
    return engines


def measure(name: str, arguments: Namespace) -> pd.DataFrame:
    """Medians of a case, one row an engine."""
    case, rounds, count = CASES[name], [], arguments.images or CASES[name].images
    count -= count % min(case.batch_size, count)
    with tempfile.TemporaryDirectory() as folder:
        items = list(make_inputs(case, count + 2, Path(folder)))
        engines = make_engines(case, items, Path(folder), arguments.workers)
        apart = [float((e.plain - engines["medcnn"].plain).abs().max()) for e in engines.values()]
        if max(apart) > TOLERANCE:
            raise SystemExit(f"{name}: the engines make other images, {apart} apart from medcnn's")
        for number in range(arguments.rounds + 1):
            turns = list(engines)[:: -1 if number % 2 else 1]
            rounds.append({turn: engines[turn].speed(arguments.seconds) for turn in turns})
    speeds = pd.DataFrame(rounds[1:], columns=list(engines))  # the first fills caches
    ratios = speeds.rdiv(speeds["medcnn"], axis=0).agg(["median", "min", "max"])
    table = ratios.T.add_prefix("ratio_").round(3)
    table.insert(0, "images_per_s", speeds.median().round(1))
    table["difference"], table["device"] = np.round(apart, 5), DEVICE.type
    table["batch_size"], table["images"], table["rounds"] = case.batch_size, count, len(speeds)
    table["workers"], table["threads"] = arguments.workers, torch.get_num_threads()
    return table


def main() -> None:
    """Measure each case, print and keep the table."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--cases", nargs="+", default=list(CASES), choices=CASES, help="what is fed")
    add("--rounds", type=int, default=7, help="turns of each engine that count")
    add("--seconds", type=float, default=1.0, help="that a turn takes at least, in whole epochs")
    add("--images", type=int, help="images an epoch instead of the case's own, in whole batches")
    add("--workers", type=int, default=0, help="processes that load, of MONAI and torchvision")
    add("--threads", type=int, default=torch.get_num_threads(), help="of torch")
    add("--csv", type=Path, help="file for the table")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.getLogger("monai").setLevel(logging.ERROR)  # it misses libraries of GPUs
    warnings.filterwarnings("ignore", module="monai")
    tables = {name: measure(name, arguments) for name in arguments.cases}
    table = pd.concat(tables, names=["case", "engine"])
    print(table.to_string())
    if arguments.csv:
        write_csv(arguments.csv, table.reset_index())


if __name__ == "__main__":
    main()
