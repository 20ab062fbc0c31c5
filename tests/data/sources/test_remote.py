"""Tables and folders of images at an address."""

import io
from pathlib import Path

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as Picture
from storage import Bucket

from medcnn.data.image_files import list_images
from medcnn.data.open_data import open_data
from medcnn.data.prepared import cache as caching
from medcnn.data.prepared import scan as scanning
from medcnn.data.sources.folder import folder
from medcnn.data.sources.table import csv
from medcnn.errors import UserError


def film(seed: int) -> bytes:
    values = np.random.default_rng(seed).integers(0, 200, (8, 8)).astype(np.uint8)
    file = io.BytesIO()
    Picture.fromarray(values).save(file, "png")
    return file.getvalue()


def films(bucket: Bucket, names: list[str]) -> None:
    for seed, name in enumerate(names):
        bucket.put(name, film(seed))


def table(names: list[str], **columns: list[str]) -> bytes:
    rows = pd.DataFrame({"image": names, "label": ["a", "b"] * (len(names) // 2), **columns})
    return rows.to_csv(index=False).encode()


def test_a_table_and_its_images_are_opened_as_on_a_disk(bucket: Bucket) -> None:
    names = [f"films/{k}.png" for k in range(12)]
    films(bucket, [f"study/{name}" for name in names])
    address = bucket.put("study/table.csv", table(names, split=["train"] * 6 + ["val", "test"] * 3))
    overrides = ("dataset=csv", f"dataset.path={address}", "dataset.size=8", "paths.data=here")
    data = open_data(jobs.compose("data", *overrides))
    assert data.samples.table["image"].tolist() == names
    assert data.samples.name == "table"
    assert data.problems == []
    assert data.samples.originals is not None
    assert data.samples.originals.root.is_relative_to(Path("here/remote").absolute())
    bucket.fs.rm_file(f"{bucket.name}/study/films/3.png")
    data = open_data(jobs.compose("data", *overrides, "on_error=skip"))  # though there was a copy
    assert [problem.image for problem in data.problems] == ["films/3.png"]


def test_a_table_of_addresses_on_the_disk(bucket: Bucket, tmp_path: Path) -> None:
    names = [f"{bucket.address}/films/{k}.png" for k in range(4)]
    films(bucket, [f"films/{k}.png" for k in range(4)])
    films(bucket, ["films/m.png", "films/n.png"])
    masks = [f"{bucket.address}/films/m.png;films/n.png", "", "", "films/n.png"]
    (tmp_path / "t.csv").write_bytes(table(names, mask=masks))
    listing = csv(path=tmp_path / "t.csv", root=bucket.address, size=8)
    assert listing.table["image"].tolist() == [f"films/{k}.png" for k in range(4)]
    assert listing.table["mask"].fillna("").tolist()[0] == "films/m.png;films/n.png"
    assert all((listing.root / name).exists() for name in listing.table["image"])
    with pytest.raises(UserError, match="holds an address outside of s3://elsewhere"):
        csv(path=tmp_path / "t.csv", root="s3://elsewhere", size=8)
    with pytest.raises(UserError, match="lie below as dataset"):
        csv(path=tmp_path / "t.csv", size=8)


def test_a_table_at_an_address_of_images_on_the_disk(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "0.png").write_bytes(film(0))
    (tmp_path / "films" / "1.png").write_bytes(film(1))
    address = bucket.put("table.csv", table(["0.png", "1.png"]))
    listing = csv(path=address, root=f"file://{tmp_path}/films", size=8)
    assert listing.root == (tmp_path / "films").resolve()


def test_images_that_are_not_there_are_problems(bucket: Bucket) -> None:
    names = [f"{k}.png" for k in range(8)]
    films(bucket, names[:-1])
    address = bucket.put("table.csv", table(names))
    overrides = ("dataset=csv", f"dataset.path={address}", "dataset.size=8", "on_error=skip")
    data = open_data(jobs.compose("data", *overrides), checked=False)
    assert [(problem.image, problem.reason) for problem in data.problems] == [
        ("7.png", "is missing")
    ]


def test_a_folder_of_classes(bucket: Bucket) -> None:
    films(bucket, [f"set/{label}/{k}.png" for label in "ab" for k in range(3)])
    listing = folder(path=f"{bucket.address}/set", size=8)
    assert listing.class_names == ("a", "b")
    assert len(listing.table) == 6
    assert listing.name == "set"


def test_a_cache_by_address_spares_the_next_machine_the_decoding(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    films(bucket, [f"set/{label}/{k}.png" for label in "ab" for k in range(3)])
    overrides = ("dataset=folder", f"dataset.path={bucket.address}/set", "dataset.size=8")
    overrides = (*overrides, f"cache.folder={bucket.address}/cache")
    first = open_data(jobs.compose("data", *overrides), checked=False)
    sent = [name for name in bucket.files() if name.startswith("cache/")]
    assert sorted(Path(name).suffix for name in sent) == [".bin", ".sqlite"]

    def never(*arguments: object) -> None:
        raise AssertionError("decoded again")

    elsewhere = (*overrides, "paths.data=elsewhere")
    with monkeypatch.context() as patch:
        patch.setattr(scanning, "read_file", never)
        again = open_data(jobs.compose("data", *elsewhere), checked=False)
    rows = torch.arange(6)
    assert torch.equal(first.samples.images[rows], again.samples.images[rows])
    pack = next(name for name in sent if name.endswith(".bin"))
    bucket.put(pack, bucket.files()[pack][:-1] + b"x")  # as where two machines sent at once
    third = open_data(jobs.compose("data", *overrides, "paths.data=third"), checked=False)
    assert "is damaged: 1 files are read anew" in capfd.readouterr().out
    assert torch.equal(first.samples.images[rows], third.samples.images[rows])


def test_a_cache_that_was_not_sent_is_sent_by_the_next(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    films(bucket, [f"set/{label}/{k}.png" for label in "ab" for k in range(3)])
    overrides = ("dataset=folder", f"dataset.path={bucket.address}/set", "dataset.size=8")
    overrides = (*overrides, f"cache.folder={bucket.address}/cache")

    def away(*arguments: object) -> None:
        raise UserError("no route to host")

    with monkeypatch.context() as patch:
        patch.setattr(caching, "send_chain", away)
        with pytest.raises(UserError, match="no route"):
            open_data(jobs.compose("data", *overrides), checked=False)
    open_data(jobs.compose("data", *overrides), checked=False)
    sent = [name for name in bucket.files() if name.startswith("cache/")]
    assert sorted(Path(name).suffix for name in sent) == [".bin", ".sqlite"]
    assert not [*Path("data/remote").rglob("unsent")]


def test_images_to_predict(bucket: Bucket) -> None:
    films(bucket, ["new/1.png", "new/2.png"])
    for spec in ("new", "new/*.png"):
        assert [path.name for path in list_images(f"{bucket.address}/{spec}")] == ["1.png", "2.png"]
    with pytest.raises(UserError, match="nor a pattern that matches a file"):
        list_images(f"{bucket.address}/new/*.dcm")
    assert list_images(f"{bucket.address}/new/1.png")[0].read_bytes() == film(0)
