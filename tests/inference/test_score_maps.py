"""``medcnn.predict dense=true``: maps of scores of whole images."""

from pathlib import Path
from typing import Any

import jobs
import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from medcnn import load
from medcnn.errors import UserError
from medcnn.nets import convolutionalise


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ResNet trained on phantoms of 28 px, of whose classes it saw other shares."""
    folder = tmp_path_factory.mktemp("score maps") / "run"
    sampler = ("sampler=weights", "sampler.weights=[1,2,6]")
    return jobs.train(folder, *jobs.QUICK, "model=resnet", "model.width=0.125", *sampler)


def picture(path: Path, *shape: int) -> np.ndarray:
    pixels = np.random.default_rng(sum(shape)).integers(0, 255, shape, np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def dense(run: Path, images: Path, output: Path, *overrides: str) -> pd.DataFrame:
    given = (f"checkpoint='{run}/checkpoints/best.ckpt'", f"images='{images}'")
    jobs.predict(*given, f"output='{output}'", "dense=true", *overrides)
    return pd.read_csv(output)


@pytest.mark.no_cover
def test_maps_of_images_of_their_own_sizes(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in = put"
    folder.mkdir()
    pixels = picture(folder / "a.png", 60, 44)
    picture(folder / "b.png", 28, 28)
    table = dense(run, folder, tmp_path / "out.csv")
    assert table["grid"].tolist() == ["5×3", "1×1"]
    classifier = load(run / "checkpoints" / "best.ckpt")
    x = classifier.normalise(torch.from_numpy(pixels)[None, None].float() / 255)
    with torch.inference_mode():
        logits = convolutionalise(classifier.net, (28, 28)).eval()(x)  # type: ignore[arg-type]
        expected = torch.softmax(logits[0] + classifier.prior.log_ratio[:, None, None], 0)
    saved = np.load(tmp_path / "out_maps" / "0000_a.npy")
    assert saved.shape == (3, 5, 3)
    np.testing.assert_allclose(saved, expected.numpy(), rtol=1e-4, atol=1e-6)
    columns = ["prob:normal", "prob:nodule", "prob:effusion"]
    np.testing.assert_allclose(table.loc[0, columns].astype(float), saved.mean((1, 2)), rtol=1e-4)
    assert table["decision"][0] == ["normal", "nodule", "effusion"][saved.mean((1, 2)).argmax()]
    assert Image.open(tmp_path / "out_maps" / "0000_a.png").size[0] > 300


def test_at_the_size_of_training_it_says_what_predict_says(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for k in range(3):
        picture(tmp_path / "in" / f"{k}.png", 40 + k, 50)
    table = dense(run, tmp_path / "in", tmp_path / "dense.csv", "size=28")
    given = (f"checkpoint='{run}/checkpoints/best.ckpt'", f"images='{tmp_path / 'in'}'")
    jobs.predict(*given, f"output='{tmp_path / 'plain.csv'}'")
    plain = pd.read_csv(tmp_path / "plain.csv")
    numbers = [name for name in plain if name.startswith("prob:")]
    np.testing.assert_allclose(table[numbers], plain[numbers], rtol=1e-4)
    assert table["decision"].tolist() == plain["decision"].tolist()


def test_an_image_that_is_too_small_is_named_and_the_rest_goes_on(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    picture(tmp_path / "in" / "small.png", 40, 20)
    picture(tmp_path / "in" / "whole.png", 40, 40)
    with pytest.raises(UserError, match="1 of 2 images could not be read"):
        dense(run, tmp_path / "in", tmp_path / "out.csv")
    assert "small.png is smaller than the 28×28 px that the network looks at" in (
        capsys.readouterr().err
    )
    assert len(pd.read_csv(tmp_path / "out.csv")) == 1
    (tmp_path / "in" / "whole.png").unlink()
    with pytest.raises(UserError, match="none of 1 files could be used"):
        dense(run, tmp_path / "in", tmp_path / "two.csv")


def test_what_is_refused(run: Path, tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 40, 40)
    with pytest.raises(UserError, match="size=20: give a whole number, at least 28"):
        dense(run, tmp_path / "a.png", tmp_path / "out.csv", "size=20")
    (tmp_path / "b_maps").mkdir()
    with pytest.raises(UserError, match="b_maps exists; overwrite=true writes into it"):
        dense(run, tmp_path / "a.png", tmp_path / "b.csv")
    assert len(dense(run, tmp_path / "a.png", tmp_path / "b.csv", "overwrite=true")) == 1
    with pytest.raises(UserError, match="size=… goes with dense=true"):
        dense(run, tmp_path / "a.png", tmp_path / "out.csv", "size=40", "dense=false")


@pytest.mark.no_cover
def test_networks_that_have_no_map(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 40, 40)
    trained: dict[str, tuple[str, ...]] = {
        "mlp has no feature maps": ("model=mlp",),
        "normalise=pixel_mean, as in training, fits images of one": ("normalise=pixel_mean",),
    }
    for k, (message, overrides) in enumerate(trained.items()):
        run = jobs.train(tmp_path / f"run{k}", *jobs.QUICK, *overrides)
        with pytest.raises(UserError, match=message):
            dense(run, tmp_path / "a.png", tmp_path / "out.csv")


@pytest.mark.no_cover
def test_an_ensemble_gives_the_mean_of_its_members(tmp_path: Path) -> None:
    folds = (*jobs.QUICK, "trainer.max_epochs=1", "fold=all", "folds=2", "model.head=gap")
    run = jobs.train(tmp_path / "run", *folds)
    picture(tmp_path / "a.png", 40, 40)
    given = (f"images='{tmp_path / 'a.png'}'", "dense=true")
    jobs.predict(f"checkpoint='{run}'", *given, f"output='{tmp_path / 'all.csv'}'")
    members = []
    for k in range(2):
        path = run / f"fold-{k}" / "checkpoints" / "best.ckpt"
        jobs.predict(f"checkpoint='{path}'", *given, f"output='{tmp_path / f'{k}.csv'}'")
        members.append(np.load(tmp_path / f"{k}_maps" / "0000_a.npy"))
    both = np.load(tmp_path / "all_maps" / "0000_a.npy")
    np.testing.assert_allclose(both, np.mean(members, 0), rtol=1e-4)
    assert np.abs(both - members[0]).max() > 1e-4


@pytest.mark.no_cover
def test_binary_volumes(tmp_path: Path) -> None:
    jobs.write_medmnist(tmp_path / "data", "nodulemnist3d", 2, shape=(28, 28, 28))
    run = jobs.train(
        tmp_path / "run", *jobs.PLAIN, "dataset=nodulemnist3d", "cam.n=0", "model=lenet",
        f"dataset.root={tmp_path / 'data'}", "trainer.max_epochs=1", "augment=none",
    )  # fmt: skip
    values = np.random.default_rng(0).integers(0, 255, (28, 30, 36)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 2, 2, 1])), tmp_path / "v.nii.gz")
    table = dense(run, tmp_path / "v.nii.gz", tmp_path / "out.csv")
    assert table["grid"].tolist() == ["5×2×1"]
    assert np.load(tmp_path / "out_maps" / "0000_v.npy").shape == (2, 5, 2, 1)


def test_own_size_follows_the_spacing() -> None:
    from medcnn.data.image import Image as Held
    from medcnn.data.image import ImageSpec
    from medcnn.data.prepared.geometry import own_size

    values: Any = np.zeros((1, 30, 40), np.uint8)
    image = Held(values, spacing=(0.5, 1.0))
    assert own_size(image, ImageSpec(size=(8, 8))) == (30, 40)
    assert own_size(image, ImageSpec(size=(8, 8), spacing=(1.0, 0.5))) == (15, 80)
