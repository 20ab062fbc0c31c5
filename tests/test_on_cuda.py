"""What runs on a CUDA GPU, on one: training, maps, half precision, augmentation on the device."""

from pathlib import Path

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import medcnn
from medcnn import cam, nets
from medcnn.training.compiled import check_compiler

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA GPU")

CPU = ("trainer.accelerator=cpu", "trainer.precision=32-true")
GPU = (*(option for option in jobs.QUICK if option not in CPU), "trainer.accelerator=gpu")


def train(folder: Path, *options: str) -> Path:
    return jobs.train(folder, *GPU, *options)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in the precision that the GPU has, with maps, augmented on the device."""
    return train(tmp_path_factory.mktemp("cuda") / "run", "cam.n=2", "augment=standard")


def test_a_training_with_maps(run: Path) -> None:
    assert jobs.status(run)["state"] == "finished"
    assert (run / "cams" / "gallery.png").exists()
    assert np.isfinite(pd.read_csv(run / "metrics.csv")["train/loss"]).all()
    names = jobs.checkpoint(run)["state_dict"]
    assert {values.device.type for values in names.values()} == {"cpu"}


def test_its_test_is_repeated_on_the_gpu_and_on_the_cpu(run: Path, tmp_path: Path) -> None:
    told = pd.read_csv(run / "predictions.csv")
    probs = [name for name in told if name.startswith("prob:")]
    checkpoint = f"checkpoint='{run / 'checkpoints' / 'best.ckpt'}'"
    for accelerator, tolerance in (("gpu", 1e-6), ("cpu", 0.05)):
        jobs.evaluate(tmp_path / accelerator, checkpoint, f"accelerator={accelerator}")
        table = pd.read_csv(tmp_path / accelerator / "predictions.csv")
        np.testing.assert_allclose(table[probs], told[probs], atol=tolerance)


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    options = ("trainer.precision=32-true", "trainer.max_epochs=1", "augment=standard")
    first, second = (train(tmp_path / name, *options) for name in ("a", "b"))
    weights = [jobs.checkpoint(one)["state_dict"] for one in (first, second)]
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        ("trainer.precision=bf16-mixed", "trainer.channels_last=true"),
        ("trainer.precision=16-mixed", "trainer.channels_last=false", "optimizer=sgd"),
        ("trainer=ddp", "trainer.accelerator=gpu", "trainer.devices=1"),  # over nccl
        ("perf=auto",),
    ],
)
def test_ways_to_train(options: tuple[str, ...], tmp_path: Path) -> None:
    run = train(tmp_path / "run", "trainer.max_epochs=1", *options)
    assert jobs.status(run)["state"] == "finished"


@pytest.mark.slow
def test_a_compiled_training(tmp_path: Path) -> None:
    check_compiler(torch.device("cuda"))
    run = train(tmp_path / "run", "trainer.max_epochs=1", "trainer.compile=true")
    assert jobs.status(run)["state"] == "finished"
    medcnn.load(run / "checkpoints" / "best.ckpt")


@pytest.mark.parametrize("method", ["cam", "gradcam", "gradcampp", "layercam"])
def test_maps_are_those_of_the_cpu(method: str) -> None:
    torch.manual_seed(0)
    net = nets.build("resnet", depth=18, width=0.25, in_channels=1, num_classes=3).eval()
    images, targets = torch.rand(4, 1, 64, 64), torch.tensor([0, 1, 2, 0])

    def explained(device: str) -> Tensor:
        own = net.to(device)
        return cam.explain(own, images.to(device), targets.to(device), method=method).cpu()

    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        torch.testing.assert_close(explained("cuda"), explained("cpu"), rtol=1e-3, atol=1e-4)
    finally:
        torch.backends.cudnn.allow_tf32 = before
