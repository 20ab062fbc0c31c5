"""A wheel, installed elsewhere, is all that one needs, with a data set and a net of one's own."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import jobs
import pytest

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

MODULE = '''
import numpy as np
import pandas as pd
import torch
from torch import nn

from medcnn.data.samples import Samples


def blobs(images, seed):
    """Noise, in half of the images with a bright square."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % 2
    pixels = rng.integers(0, 100, (images, 1, 28, 28), np.uint8)
    pixels[labels == 1, :, 8:16, 8:16] += 150
    table = pd.DataFrame({"image": np.arange(images), "patient": np.arange(images)})
    table["split"] = np.resize(np.repeat(["train", "val", "test"], 2), images)
    table["label"] = labels
    return Samples("blobs", table, torch.from_numpy(pixels), "binary", ("none", "blob"), positive=1)


class Tiny(nn.Module):
    """A net of one convolution."""

    def __init__(self, width, in_channels, num_classes, spatial_dims, input_size):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(in_channels, width, 3), nn.ReLU())
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)
        )
'''
DATASET = "_target_: hospital.data.blobs\nimages: 40\nseed: 3\nname: blobs\nepochs: 2\n"
MODEL = "_target_: hospital.data.Tiny\nwidth: 4\n"
TRUST = "trust=[hospital.data.blobs,hospital.data.Tiny]"


def build(source: Path, folder: Path) -> Path:
    """Build a wheel of a checkout, without network; gives its path back."""
    script = "import sys, hatchling.build as b; print(b.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        cwd=source, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return folder / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(jobs.ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel is installed to."""
    site = tmp_path_factory.mktemp("site")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-compile"]
    quiet = ["--quiet", "--disable-pip-version-check", "--target", str(site)]
    subprocess.run([*install, *quiet, str(wheel)], check=True, timeout=120)
    return site


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: a module, its configs, and later the runs."""
    home = tmp_path_factory.mktemp("a user's folder")
    for name, text in {
        "code/hospital/__init__.py": "",
        "code/hospital/data.py": MODULE,
        "configs/dataset/blobs.yaml": DATASET,
        "configs/model/tiny.yaml": MODEL,
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    return home


def python(site: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the user's folder with the wheel, and not this checkout, on the path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(home / "code")])}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, timeout=300
    )


def test_a_wheel_holds_the_package_and_its_configs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [*jobs.ROOT.glob("medcnn/**/*.py"), *jobs.ROOT.glob("conf/**/*.yaml")]
    in_wheel = {str(file.relative_to(jobs.ROOT)) for file in files if file.parent.name != "local"}
    expected = {f"medcnn/{name}" if name.startswith("conf/") else name for name in in_wheel}
    assert expected <= names
    assert not {name for name in names if name.startswith(("conf/", "tests/", "scripts/"))}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_a_machine_s_own_settings_stay_out_of_it(tmp_path: Path) -> None:
    source = tmp_path / "checkout"
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("medcnn", "conf"):
        shutil.copytree(jobs.ROOT / name, source / name, ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(jobs.ROOT / name, source / name)
    (source / "conf" / "local").mkdir(exist_ok=True)
    (source / "conf" / "local" / "default.yaml").write_text("# @package _global_\nseed: 3\n")
    names = zipfile.ZipFile(build(source, tmp_path)).namelist()
    assert "medcnn/conf/train.yaml" in names
    assert "medcnn/conf/local/default.yaml" not in names


def test_the_command_of_a_wheel(site: Path, home: Path) -> None:
    where = python(site, home, "-c", "import medcnn; print(medcnn.__file__, medcnn.__version__)")
    assert where.stdout.startswith(str(site / "medcnn"))
    shown = python(site, home, "-m", "medcnn.train", "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "model: alexnet, densenet" in shown.stdout
    own = ("--config-dir=configs", "dataset=blobs", "model=tiny")
    shown = python(site, home, "-m", "medcnn.train", "--cfg", "job", *own)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "_target_: hospital.data.Tiny" in shown.stdout
    refused = python(site, home, "-m", "medcnn.train", "--config-dir=configs", "dataset=blob")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "mean blobs" in refused.stderr


def test_own_data_and_net(site: Path, home: Path) -> None:
    train = python(
        site, home, "-m", "medcnn.train", "--config-dir=configs", "dataset=blobs", "model=tiny",
        TRUST, "debug=fast", "trainer=cpu", "trainer.threads=1", "batch_size=4",
        "paths.run=runs/lr=0.1 [own], é", "logger=none",
    )  # fmt: skip
    assert train.returncode == 0, train.stderr
    run = home / "runs" / "lr=0.1 [own], é"
    assert "runs/lr=0.1 [own], é: test AUROC" in train.stdout.splitlines()[-1]
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    assert (run / "cams" / "gallery.png").exists()
    assert json.loads((run / "metrics.json").read_text())["test/auroc"]["n"] == 8  # two batches
    assert {path.name for path in home.iterdir()} == {"code", "configs", "runs"}
