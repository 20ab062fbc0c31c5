import hashlib
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from medcnn.data.sources import medmnist as module
from medcnn.data.sources.medmnist import medmnist
from medcnn.errors import UserError

CONF = Path(__file__).parents[3] / "conf" / "dataset"
COUNTS = {"train": 5, "val": 2, "test": 3}
FLAGS_2D = [
    "pathmnist",
    "chestmnist",
    "dermamnist",
    "octmnist",
    "pneumoniamnist",
    "retinamnist",
    "breastmnist",
    "bloodmnist",
    "tissuemnist",
    "organamnist",
    "organcmnist",
    "organsmnist",
]
FLAGS_3D = [
    "organmnist3d",
    "nodulemnist3d",
    "adrenalmnist3d",
    "fracturemnist3d",
    "vesselmnist3d",
    "synapsemnist3d",
]
FLAGS = FLAGS_2D + FLAGS_3D


def arrays(flag: str, size: int = 28) -> dict[str, np.ndarray]:
    """The arrays of a small file of that set, random."""
    info = module._info()[flag]
    shape = (size,) * (3 if flag.endswith("3d") else 2)
    shape += (3,) if info["n_channels"] == 3 else ()
    multilabel = info["task"].startswith("multi-label")
    classes = len(info["label"])
    rng = np.random.default_rng(0)
    made = {}
    for split, count in COUNTS.items():
        labels = (count, classes) if multilabel else (count, 1)
        made[f"{split}_images"] = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        made[f"{split}_labels"] = rng.integers(0, 2 if multilabel else classes, labels, np.uint8)
    return made


def write(folder: Path, flag: str, **changed: Any) -> Path:
    """Writes a small file, with some arrays changed or (None) left out."""
    path = folder / f"{flag}.npz"
    made = {key: value for key, value in (arrays(flag) | changed).items() if value is not None}
    np.savez_compressed(path, **made)
    return path


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small breastmnist.npz that counts as the published one, at an address of its own."""
    path = write(tmp_path, "breastmnist")
    info = dict(module._info()["breastmnist"])
    info |= {"url": path.as_uri(), "MD5": hashlib.md5(path.read_bytes()).hexdigest()}
    monkeypatch.setattr(module, "_info", lambda: {"breastmnist": info})
    return path


def test_metadata_is_that_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # in which the package makes a folder
    from medmnist import INFO

    assert module._info() == INFO


def test_metadata_leaves_the_slow_package_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "medmnist", raising=False)
    module._info.cache_clear()
    assert set(module._info()) == set(FLAGS)
    assert "medmnist" not in sys.modules


@pytest.mark.parametrize("flag", FLAGS)
def test_each_set(flag: str, tmp_path: Path) -> None:
    write(tmp_path, flag)
    stored, samples = arrays(flag), medmnist(flag, root=tmp_path, download=False)
    info = module._info()[flag]
    assert samples.name == flag
    assert samples.class_names == tuple(info["label"].values())
    assert isinstance(samples.images, torch.Tensor)
    assert samples.images.is_contiguous()
    assert samples.images.dtype == torch.uint8
    assert (samples.positive is not None) == (samples.task == "binary")
    for split, count in COUNTS.items():
        rows = samples.rows(split)
        assert len(rows) == count
        images = np.reshape(stored[f"{split}_images"], (count, -1, info["n_channels"]))
        mine = samples.images[rows].reshape(count, info["n_channels"], -1).numpy()
        np.testing.assert_array_equal(mine, images.swapaxes(1, 2))
        labels = stored[f"{split}_labels"]
        expected = labels if samples.task == "multilabel" else labels[:, 0]
        np.testing.assert_array_equal(samples.labels[rows].numpy(), expected)


@pytest.mark.parametrize(
    ("flag", "task", "positive"),
    [
        ("breastmnist", "binary", "malignant"),
        ("pneumoniamnist", "binary", "pneumonia"),
        ("nodulemnist3d", "binary", "malignant"),
        ("adrenalmnist3d", "binary", "hyperplasia"),
        ("vesselmnist3d", "binary", "aneurysm"),
        ("synapsemnist3d", "binary", "excitatory synapse"),
        ("retinamnist", "ordinal", None),
        ("chestmnist", "multilabel", None),
        ("pathmnist", "multiclass", None),
    ],
)
def test_task_and_positive_class(
    flag: str, task: str, positive: str | None, tmp_path: Path
) -> None:
    write(tmp_path, flag)
    samples = medmnist(flag, root=tmp_path)
    assert samples.task == task
    named = None if samples.positive is None else samples.class_names[samples.positive]
    assert named == positive


def test_table(tmp_path: Path) -> None:
    write(tmp_path, "breastmnist")
    table = medmnist("breastmnist", root=tmp_path).table
    assert table["image"].tolist()[4:7] == ["train/4", "val/0", "val/1"]
    assert table["patient"].is_unique
    assert table["patient"].iloc[-1] == "test-2"
    assert table["split"].value_counts().to_dict() == COUNTS


def test_other_size(tmp_path: Path) -> None:
    np.savez(tmp_path / "retinamnist_64.npz", **arrays("retinamnist", size=64))
    samples = medmnist("retinamnist", root=tmp_path, size=64)
    assert samples.input_size == (64, 64)
    assert samples.name == "retinamnist_64"


def test_squeezed_labels_are_the_same(tmp_path: Path) -> None:
    write(tmp_path, "breastmnist")
    usual = medmnist("breastmnist", root=tmp_path).labels
    made = arrays("breastmnist")
    write(tmp_path, "breastmnist", **{f"{s}_labels": made[f"{s}_labels"][:, 0] for s in COUNTS})
    assert torch.equal(medmnist("breastmnist", root=tmp_path).labels, usual)


def test_other_md5_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, "breastmnist")
    medmnist("breastmnist", root=tmp_path)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert hashlib.md5(path.read_bytes()).hexdigest() in record.getMessage()
    assert "750601b1f35ba3300ea97c75c52ff8f6" in record.getMessage()


def test_published_file_gives_no_warning(published: Path, caplog: pytest.LogCaptureFixture) -> None:
    medmnist("breastmnist", root=published.parent)
    assert not caplog.records


def test_download(published: Path, tmp_path: Path) -> None:
    root = tmp_path / "new" / "folder"
    samples = medmnist("breastmnist", root=root)
    assert len(samples) == 10
    assert [path.name for path in root.iterdir()] == ["breastmnist.npz"]
    assert (root / "breastmnist.npz").read_bytes() == published.read_bytes()


def test_damaged_download_leaves_nothing(published: Path, tmp_path: Path) -> None:
    published.write_bytes(published.read_bytes()[:-100])
    root = tmp_path / "new"
    with pytest.raises(UserError, match="damaged"):
        medmnist("breastmnist", root=root)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("download", [True, False])
def test_missing_file_says_what_and_where(published: Path, tmp_path: Path, download: bool) -> None:
    url = published.as_uri()
    published.unlink()
    with pytest.raises(UserError, match="is missing") as caught:
        medmnist("breastmnist", root=tmp_path / "new", download=download)
    assert url in str(caught.value)
    assert str(tmp_path / "new" / "breastmnist.npz") in str(caught.value)


def test_folder_that_cannot_be_made(published: Path, tmp_path: Path) -> None:
    tmp_path.joinpath("file").touch()
    with pytest.raises(UserError, match="could not be downloaded"):
        medmnist("breastmnist", root=tmp_path / "file" / "folder")
    assert published.is_file()


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped"])
def test_damaged_file(damage: str, tmp_path: Path) -> None:
    path = write(tmp_path, "breastmnist")
    data = path.read_bytes()
    middle = len(data) // 3
    changed = {
        "empty": b"",
        "text": b"<html>not found</html>",
        "cut": data[: len(data) // 2],
        "flipped": data[:middle] + bytes(255 - b for b in data[middle : middle + 50])
        + data[middle + 50 :],
    }  # fmt: skip
    path.write_bytes(changed[damage])
    with pytest.raises(UserError, match=r"breastmnist\.npz can't be read .*: download https://"):
        medmnist("breastmnist", root=tmp_path)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"val_images": None}, "val_images is not a file"),
        ({"val_images": np.zeros((3, 28, 28), np.uint8)}, r"val_images is uint8 \(3, 28, 28\)"),
        ({"val_images": np.zeros((2, 64, 64), np.uint8)}, r"should be uint8 \(2, 28, 28\)"),
        ({"val_images": np.zeros((2, 28, 28))}, "val_images is float64"),
        ({"val_labels": np.zeros((2, 3), np.uint8)}, r"val_labels is uint8 \(2, 3\)"),
        ({"val_labels": np.zeros((2, 1))}, "whole numbers"),
        ({"val_labels": np.uint8(0)}, "val_labels"),
        ({"val_labels": np.array([{}, {}])}, "allow_pickle"),
    ],
)
def test_wrong_arrays(changed: dict[str, Any], reason: str, tmp_path: Path) -> None:
    write(tmp_path, "breastmnist", **changed)
    with pytest.raises(UserError, match=reason):
        medmnist("breastmnist", root=tmp_path)


def test_sizes_are_looked_at_before_anything_is_inflated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "breastmnist", train_images=np.zeros((200_000, 28, 28), np.uint8))
    assert path.stat().st_size < 10**6
    with pytest.raises(UserError, match=r"train_images\.npy declares 0\.2 GB, far more"):
        medmnist("breastmnist", root=tmp_path)
    write(tmp_path, "breastmnist")
    monkeypatch.setattr(module, "available_memory", lambda: 1000)
    with pytest.raises(UserError, match="of memory, more than is free"):
        medmnist("breastmnist", root=tmp_path)


def test_label_outside_the_classes(tmp_path: Path) -> None:
    write(tmp_path, "breastmnist", val_labels=np.array([[0], [2]]))
    with pytest.raises(UserError, match=r"label 2 in row 6"):
        medmnist("breastmnist", root=tmp_path)


def test_unknown_set_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'brestmnist': did you mean breastmnist"):
        medmnist("brestmnist", root=tmp_path)


@pytest.mark.parametrize(
    ("flag", "sizes"), [("breastmnist", "28, 64, 128, 224"), ("organmnist3d", "28, 64$")]
)
def test_unknown_size(flag: str, sizes: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{flag} has no size 100: choose one of {sizes}"):
        medmnist(flag, root=tmp_path, size=100)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    module._info.cache_clear()
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install medmnist"):
        module._info()


def test_with_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.joinpath("info.py").write_text("OTHER = {}")
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    module._info.cache_clear()
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(UserError, match="no INFO"):
        module._info()


def test_configs_name_the_18_sets() -> None:
    base = OmegaConf.load(CONF / "_medmnist.yaml")
    assert base["_target_"] == f"{medmnist.__module__}.{medmnist.__name__}"
    for flag in FLAGS:
        config = OmegaConf.load(CONF / f"{flag}.yaml")
        assert config["flag"] == config["name"] == flag
        presented = config["epochs"] * module._info()[flag]["n_samples"]["train"]
        assert 15_000 < presented < 170_000


def test_real_breastmnist(data_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    samples = medmnist("breastmnist", root=data_root / "medmnist", download=False)
    assert not caplog.records
    assert samples.images.shape == (780, 1, 28, 28)
    assert (samples.labels == 0).sum() == 210  # malignant, Al-Dhabyani et al. 2020
    info = module._info()["breastmnist"]["n_samples"]
    assert samples.table["split"].value_counts().to_dict() == info
