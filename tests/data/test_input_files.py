"""Several files, and a mask, as one input of a trained network."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch

from medcnn.data.batches import unit_intensity
from medcnn.data.image import ImageSpec, spec_of
from medcnn.data.inputs import as_asked, read_images
from medcnn.data.listing import Listing
from medcnn.data.prepared.open_listing import open_listing
from medcnn.errors import UserError

COARSE = np.diag([1.5, 1.5, 1.5, 1.0])
Card = dict[str, Any]


def card_of(spec: ImageSpec) -> Card:
    assert spec.layout is not None
    channels = spec.layout.pictures + spec.layout.flags
    return {
        "image_spec": asdict(spec),
        "input_size": list(spec.size),
        "in_channels": channels,
        "intensity_range": None,
    }


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two volumes of different grids, and the mask of the first."""
    rng = np.random.default_rng(0)
    mask = np.zeros((12, 10, 8), np.uint8)
    mask[3:7, 2:6, 2:5] = 1
    volumes = {
        "t1": (rng.normal(size=(12, 10, 8)).astype(np.float32), np.eye(4)),
        "t2": (rng.normal(size=(9, 8, 6)).astype(np.float32), COARSE),
        "mask": (mask, np.eye(4)),
    }
    for name, (values, affine) in volumes.items():
        nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / f"{name}.nii")
    return [tmp_path / f"{name}.nii" for name in volumes]


OPTIONS: dict[str, Any] = {"columns": ("t1", "t2"), "missing_channel": "zero", "mask_as": "channel"}


@pytest.mark.parametrize("crop", ["none", "mask"])
@pytest.mark.parametrize("there", [(True, True), (True, False)])
def test_as_in_a_table(files: list[Path], there: tuple[bool, bool], crop: str) -> None:
    spec = ImageSpec(size=(6, 6), slices="every:2", crop=crop, channels=(1, 1), **OPTIONS)
    named = [path.name if here else None for path, here in zip(files, there, strict=False)]
    table = pd.DataFrame({"image": [named[0]], "image:t1": [named[0]], "image:t2": [named[1]]})
    table = table.astype(object).assign(patient="p", label=0, mask="mask.nii")
    listing = Listing("toy", table, files[0].parent.resolve(), spec, "binary", ("a", "b"))
    opened = open_listing(listing, files[0].parent / "cache", 10**9)
    assert opened.images is not None
    rows = torch.arange(len(opened.table))
    expected = unit_intensity(opened.images[rows], opened.ranges[rows])
    given = [path if here else None for path, here in zip(files, there, strict=False)]
    torch.testing.assert_close(read_images(given, card_of(opened.spec), files[2]), expected)


def test_ranges_of_the_training_are_of_each_file(files: list[Path]) -> None:
    spec = ImageSpec(
        size=(8, 10, 12), columns=("t1", "t2"), channels=(1, 1), intensity="training_percentile"
    )
    card = card_of(spec) | {"intensity_range": [[-2.0, 2.0], [0.0, 1e6]]}
    images = read_images(files[:2], card)
    values = np.asarray(nibabel.load(files[0]).dataobj)  # type: ignore[attr-defined]
    shown = torch.from_numpy(values[::-1, ::-1].transpose(2, 1, 0).copy())
    torch.testing.assert_close(images[0, 0], ((shown + 2) / 4).clamp(0, 1))
    assert float(images[0, 1].max()) < 1e-5


def test_what_cant_be_read_together(files: list[Path]) -> None:
    one, two, mask = files
    spec = ImageSpec(size=(8, 8, 8), channels=(1, 1), columns=("t1", "t2"))
    cases: list[tuple[Any, Path | None, str]] = [
        (one, None, r"1 files: this network takes 2 as one image, read\(\[t1, t2\]\)"),
        ([one, None], None, "t2 can't be missing, as in training"),
        ([None, None], None, "all can't be missing"),
        ([one, two], mask, "takes no mask"),
        ([one, one.with_name("gone.nii")], None, "gone.nii is missing"),
    ]
    for paths, lesion, reason in cases:
        with pytest.raises(UserError, match=reason):
            read_images(paths, card_of(spec), lesion)
    masked = card_of(ImageSpec(size=(8, 8, 8), channels=(1,), mask_as="channel"))
    for lesion, reason in ((None, "needs the mask"), (two, "is 9×8×6, but its image is 12×10×8")):
        with pytest.raises(UserError, match=reason):
            read_images(one, masked, lesion)
    plain = {**masked, "image_spec": asdict(ImageSpec(size=(8, 8, 8))), "in_channels": 1}
    for paths, lesion in (([one], None), (one, mask)):
        with pytest.raises(UserError, match="takes one file an image, and no mask"):
            read_images(paths, plain, lesion)


def test_a_file_alone_is_refused() -> None:
    spec = ImageSpec(size=(8, 8), columns=("t1", "t2"), channels=(1, 1))
    why = r"takes 2 files as one \(t1, t2\): list them in a table, and medcnn\.predict .*=\[t1,t2\]"
    with pytest.raises(UserError, match=why):
        as_asked(spec_of(card_of(spec)), None)
    masked = ImageSpec(size=(8, 8), channels=(1,), mask_as="channel")
    with pytest.raises(UserError, match="a file alone doesn't say where its lesion is"):
        as_asked(spec_of(card_of(masked)), None)


def test_a_table_has_to_name_as_many_files_as_the_training() -> None:
    card = card_of(ImageSpec(size=(8, 8), columns=("t1", "t2"), channels=(1, 3)))
    renamed = spec_of(card, ImageSpec(size=(4, 4), columns=("a", "b")))
    assert (renamed.columns, renamed.channels, renamed.size) == (("a", "b"), (1, 3), (8, 8))
    why = r"names 1 of the 2 columns of files that the checkpoint takes as one image: t1, t2, in"
    with pytest.raises(UserError, match=why):
        spec_of(card, ImageSpec(size=(4, 4)))
