from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA

from medcnn.classifier import normalise
from medcnn.classifier.normalise import Normalise, statistics
from medcnn.data.image import ImageSpec
from medcnn.data.samples import Samples
from medcnn.data.studies import studies_of
from medcnn.errors import UserError


def samples(images: torch.Tensor, train: int | None = None) -> Samples:
    count = len(images)
    train = count if train is None else train
    table = pd.DataFrame({"image": range(count), "patient": range(count), "label": 0})
    table["split"] = ["train"] * train + ["test"] * (count - train)
    return Samples("noise", table, images, "multiclass", ("a", "b"))


def noise(count: int = 40, shape: tuple[int, ...] = (2, 5, 6)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)


def normalised(images: torch.Tensor, kind: str) -> torch.Tensor:
    unit = images.float() / 255
    return Normalise(kind, statistics(samples(images), kind), images.ndim - 2)(unit)


@pytest.mark.parametrize("shape", [(2, 5, 6), (1, 3, 4, 5)])
def test_zscore_gives_each_channel_mean_zero_and_variance_one(shape: tuple[int, ...]) -> None:
    values = normalised(noise(shape=shape), "zscore").transpose(0, 1).flatten(1)
    torch.testing.assert_close(values.mean(1), torch.zeros(shape[0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.std(1, unbiased=False), torch.ones(shape[0]))


def test_mean_and_pixel_mean_only_subtract() -> None:
    images = noise()
    unit = images.float() / 255
    channel = unit.mean((0, 2, 3), keepdim=True)
    torch.testing.assert_close(normalised(images, "mean"), unit - channel)
    torch.testing.assert_close(normalised(images, "pixel_mean"), unit - unit.mean(0))


def test_image_uses_the_image_alone() -> None:
    values = normalised(noise(), "image").flatten(2)
    torch.testing.assert_close(values.mean(2), torch.zeros(40, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.std(2, unbiased=False), torch.ones(40, 2))
    assert normalised(torch.full((3, 1, 4, 4), 7, dtype=torch.uint8), "image").abs().max() < 1e-3


def test_none_leaves_the_image_as_it_is() -> None:
    images = noise()
    torch.testing.assert_close(normalised(images, "none"), images.float() / 255)


def test_whitening_agrees_with_principal_components(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalise, "EPSILON", 0.0)
    mixed = torch.rand(300, 12, generator=torch.Generator().manual_seed(1)) @ torch.rand(12, 12)
    images = (mixed / mixed.max() * 255).to(torch.uint8).view(-1, 1, 3, 4)
    values = normalised(images, "whiten").flatten(1).numpy()
    np.testing.assert_allclose(np.cov(values.T, bias=True), np.eye(12), atol=2e-3)
    pca = PCA(whiten=True).fit(images.flatten(1).numpy() / 255)
    scores = pca.transform(images.flatten(1).numpy() / 255) * np.sqrt(300 / 299)
    np.testing.assert_allclose(values, scores @ pca.components_, atol=5e-3)


def test_whitening_does_not_blow_up_what_is_constant() -> None:
    images = noise()
    images[:, :, 0] = 9
    assert normalised(images, "whiten").abs().max() < 20


@pytest.mark.parametrize("kind", ["zscore", "mean", "pixel_mean", "whiten"])
def test_only_the_training_split_counts(kind: str) -> None:
    images = noise()
    known = statistics(samples(images[:30]), kind)
    for expected, got in zip(known, statistics(samples(images, train=30), kind), strict=True):
        assert (expected is None and got is None) or torch.equal(expected, got)


@pytest.mark.parametrize("high", [255, 65535])
def test_stored_values_are_scaled_first(high: int) -> None:
    stored = np.random.default_rng(0).integers(0, high, (9, 2, 5, 4))
    images = torch.from_numpy(stored).to(torch.uint8 if high == 255 else torch.uint16)
    data = samples(images)
    data.intensity_range = (0.0, float(high))
    mean, std, _ = statistics(data)
    np.testing.assert_allclose(mean, (stored / high).mean((0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(std, (stored / high).std((0, 2, 3)), atol=1e-6)


def test_each_image_can_have_a_range_of_its_own() -> None:
    images = noise()
    data = samples(images)
    data.intensity_range = torch.tensor([[0.0, 255.0], [255.0, 0.0]]).repeat(20, 1)
    unit = images.float() / 255
    unit[1::2] = 1 - unit[1::2]
    torch.testing.assert_close(statistics(data, "pixel_mean").mean, unit.mean(0))


def test_a_constant_channel_is_not_divided_by_zero() -> None:
    mean, std, _ = statistics(samples(torch.full((9, 1, 4, 4), 51, dtype=torch.uint8)))
    assert mean.tolist() == pytest.approx([0.2])
    assert std.tolist() == [1.0]


@pytest.mark.parametrize("kind", ["zscore", "pixel_mean", "whiten"])
def test_chunks_make_no_difference(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = statistics(samples(noise()), kind)
    monkeypatch.setattr(normalise, "CHUNK_BYTES", 700)
    for expected, got in zip(whole, statistics(samples(noise()), kind), strict=True):
        if expected is not None and got is not None:
            torch.testing.assert_close(expected, got, rtol=1e-5, atol=1e-6)


def test_refuses_what_makes_no_sense() -> None:
    with pytest.raises(UserError, match="normalise=batch: choose one of zscore"):
        statistics(samples(noise()), "batch")
    with pytest.raises(UserError, match="normalise=whiten is for images of at most 3072 values"):
        statistics(samples(noise(3, (1, 64, 64))), "whiten")


@pytest.mark.parametrize("kind", ["zscore", "mean", "pixel_mean", "image", "none"])
def test_channels_of_0_and_1_stay_as_they_are(kind: str) -> None:
    """And the channel that a third of the images lack has the moments of the others."""
    images = noise(30, (5, 6, 4))
    images[:10, 1] = 0
    images[:, 2:] = 255
    images[:10, 3] = 0
    images[:, 4, :3] = 0  # the mask
    data = samples(images)
    spec = ImageSpec(size=(6, 4), columns=("a", "b"), channels=(1, 1), missing_channel="zero")
    data.spec = asdict(replace(spec, mask_as="channel"))
    unit = images.float() / 255
    found = Normalise(kind, statistics(data, kind), 2, flags=3)(unit)
    torch.testing.assert_close(found[:, 2:], unit[:, 2:])
    if kind == "zscore":
        there = found[10:, 1]
        assert float(there.mean()) == pytest.approx(0, abs=1e-5)
        assert float(there.std(unbiased=False)) == pytest.approx(1, abs=1e-5)


def test_channels_of_0_and_1_cant_be_whitened() -> None:
    data = samples(noise())
    data.spec = asdict(ImageSpec(size=(5, 6), channels=(1,), mask_as="channel"))
    with pytest.raises(UserError, match=r"normalise=whiten mixes all channels"):
        statistics(data, "whiten")


@pytest.mark.parametrize("kind", ["zscore", "pixel_mean", "whiten"])
def test_of_studies_each_image_counts_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, joined = (samples(noise(12, (1, 3, 3)), 9) for _ in range(2))
    joined.table["patient"] = joined.table["study"] = [*"aaaabbbbc", *"ddd"]
    joined.join_studies(studies_of(joined.table))
    monkeypatch.setattr(normalise, "CHUNK_BYTES", 4 * 9 * 2)  # two images at a time
    sizes = [len(part) for part in normalise._chunks(joined)]
    assert sizes == [2, 2, 2, 2, 1]
    for own, expected in zip(statistics(joined, kind), statistics(alone, kind), strict=True):
        assert (own is None) == (expected is None)
        if own is not None:
            torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)
