"""What pictures show of a sample: its file's own pixels, the map brought back to them."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as Picture

from medcnn.data.image import Image, ImageSpec
from medcnn.data.originals import Originals
from medcnn.data.phantom.dataset import phantom
from medcnn.data.samples import Samples
from medcnn.evidence.own_grid import item_of_row, on_own_grid


def samples_of(folder: Path, spec: ImageSpec, images: list[str], **options: Any) -> Samples:
    n = len(images)
    table = pd.DataFrame({"image": images, "patient": range(n), "split": "test", "label": 0})
    stored = torch.zeros(n, 1, *spec.size)
    masks = options.pop("masks", [""] * n)
    slices = options.pop("slices", [0] * n)
    originals = Originals(folder, images, masks, slices, spec, [{}] * n)
    return Samples(
        "x", table, stored, "binary", ("a", "b"), intensity_range=(0.0, 200.0), originals=originals
    )


def test_a_volume_on_its_own_voxels(tmp_path: Path) -> None:
    """LAS with voxels of 1 × 1.5 × 6 mm, shown SPL: turned by hand here."""
    values = np.random.default_rng(0).integers(0, 200, (20, 16, 6)).astype(np.int16)
    lesions = {"low.nii.gz": values < 20, "high.nii.gz": values > 150}
    affine = np.diag([-1.0, 1.5, 6.0, 1.0])
    nibabel.Nifti1Image(values, affine).to_filename(tmp_path / "v.nii.gz")
    for name, lesion in lesions.items():
        nibabel.Nifti1Image(lesion.astype(np.uint8), affine).to_filename(tmp_path / name)
    samples = samples_of(
        tmp_path, ImageSpec(size=(8, 8, 8)), ["v.nii.gz"], masks=[";".join(lesions)]
    )
    raw = torch.zeros(8, 8, 8)
    raw[6, 1, 2] = 3.0
    found = item_of_row(samples, 0, samples.images[torch.tensor([0])][0], raw, None)
    spl = values.transpose(2, 1, 0)[:, ::-1]  # S stays, A becomes P, L stays
    np.testing.assert_allclose(found["image"], spl / 200, atol=1e-6)
    assert np.array_equal(found["mask"], (spl < 20) | (spl > 150))
    assert found["spacing"] == pytest.approx((6.0, 1.5, 1.0))
    assert found["orientation"] == "SPL"
    peak = np.unravel_index(found["map"].argmax(), found["map"].shape)
    centre = (np.array([6, 1, 2]) + 0.5) / 8 * (6, 16, 20) - 0.5
    assert (np.abs(np.array(peak) - centre) <= 0.5).all()


def test_a_slice_and_a_picture_in_colour(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 200, (9, 7, 5)).astype(np.int16)
    image = Image(values[None], affine=np.diag([1.0, 3.0, 2.0, 1.0]))  # RAS
    spec = ImageSpec(size=(4, 4), slices="every:2", orientation="RAS")
    found = on_own_grid(image, spec, (0, 200), np.ones((4, 4)), number=2)
    np.testing.assert_allclose(found["image"], values[4] / 200, atol=1e-6)
    assert (found["map"] == 1).all()
    assert found["spacing"] == pytest.approx((3.0, 2.0))
    rgb = np.random.default_rng(0).integers(0, 255, (10, 14, 3)).astype(np.uint8)
    Picture.fromarray(rgb).save(tmp_path / "p.png")
    samples = samples_of(tmp_path, ImageSpec(size=(4, 4), channels=1), ["p.png"])
    samples.intensity_range = (0.0, 255.0)
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[1:3, 1:3] = True
    found = item_of_row(samples, 0, torch.zeros(1, 4, 4), torch.ones(4, 4), mask)
    np.testing.assert_allclose(found["image"], rgb / 255, atol=1e-6)  # though the net sees grey
    assert found["map"].shape == (10, 14)
    assert found["mask"].sum() == pytest.approx(35, abs=8)  # a quarter of it
    assert found["mask"][5, 7]


def test_a_file_that_is_gone_is_shown_as_the_network_saw_it(tmp_path: Path) -> None:
    samples = samples_of(tmp_path, ImageSpec(size=(4, 4)), ["gone.png"])
    found = item_of_row(samples, 0, torch.full((1, 4, 4), 0.25), torch.ones(4, 4), None)
    assert (found["image"] == 0.25).all()
    assert found["map"].shape == (4, 4)


def test_volumes_without_files_may_say_how_they_lie() -> None:
    samples = phantom(patients=24, spatial_dims=3, size=16)
    image = torch.zeros(1, 16, 16, 16)
    found = item_of_row(samples, 0, image, image[0], None)
    assert found["orientation"] == "SPL"
    assert found["image"].shape == (16, 16, 16)


@pytest.mark.parametrize("there", [True, False])
def test_of_several_files_the_first_one_is_shown(tmp_path: Path, there: bool) -> None:
    """The second file of two, as the first is missing; without it, what the network received."""
    values = np.random.default_rng(0).integers(0, 200, (8, 8)).astype(np.uint8)
    if there:
        Picture.fromarray(values).save(tmp_path / "b.png")
    spec = ImageSpec(size=(4, 4), columns=("a", "b"), channels=(1, 1), missing_channel="zero")
    samples = samples_of(tmp_path, spec, ["b.png"])
    samples.spec = asdict(spec)
    samples.intensity_range = torch.tensor([[[0.0, 1], [0, 100], [0, 1], [0, 1]]])
    samples.originals = replace(samples.originals, first=[1])  # type: ignore[type-var]
    received = torch.rand(4, 4, 4)
    found = item_of_row(samples, 0, received, torch.ones(4, 4), None)
    expected = (values / 100).clip(0, 1) if there else received[0].numpy()
    np.testing.assert_allclose(found["image"], expected, atol=1e-6)
