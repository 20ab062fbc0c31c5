"""Files on the disk, classified."""

from pathlib import Path

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import medcnn
from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.inference.results import headline

PROBS = ["prob:normal", "prob:nodule", "prob:effusion"]


@pytest.fixture(scope="module")
def samples(phantom_run: Path) -> Samples:
    from medcnn.data.open_data import make_source

    return make_source(jobs.checkpoint(phantom_run)["medcnn"]["config"]["dataset"])


@pytest.fixture(scope="module")
def pictures(samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test images as PNG files, named by their rows."""
    folder = tmp_path_factory.mktemp("pictures")
    for row in samples.rows("test").tolist():
        Image.fromarray(samples.images[row, 0].numpy()).save(folder / f"{row:03d}.png")
    return folder


def test_files_get_the_probabilities_of_the_training(
    phantom_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new folder" / "a.csv"
    jobs.predict(
        jobs.best(phantom_run), f"images='{pictures}'", f"output='{output}'", "batch_size=5"
    )
    assert capsys.readouterr().out == f"{output}: 18 of 18 images classified\n"
    table = pd.read_csv(output)
    told = pd.read_csv(phantom_run / "predictions.csv")
    told = told[told["split"] == "test"].reset_index(drop=True)
    assert [Path(path).stem for path in table["image"]] == [f"{row:03d}" for row in told["row"]]
    np.testing.assert_allclose(table[PROBS], told[PROBS], atol=1e-5)
    assert table["decision"].tolist() == told["decision"].tolist()
    assert [path.name for path in output.parent.iterdir()] == ["a.csv"]


def test_calibrated_and_with_the_threshold(tmp_path: Path) -> None:
    root = jobs.write_medmnist(tmp_path, "breastmnist", 2)
    data = ("dataset=breastmnist", "dataset.download=false", f"dataset.root='{root}'")
    run = jobs.train(tmp_path / "run", *jobs.PLAIN, *data, "model=lenet", "cam.n=0")
    _one_number_everywhere(run)
    jobs.evaluate(tmp_path / "warm", jobs.best(run), "calibration=temperature")
    told = pd.read_csv(tmp_path / "warm" / "predictions.csv")
    images = np.load(root / "breastmnist.npz")["test_images"]
    (tmp_path / "in").mkdir()
    for row, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "in" / f"{row:03d}.png")
    where = (f"images='{tmp_path / 'in'}'", f"output='{tmp_path / 'a.csv'}'")
    jobs.predict(jobs.best(run), *where, "calibration=temperature")
    table = pd.read_csv(tmp_path / "a.csv")
    probs = [column for column in told if column.startswith("prob:")]
    np.testing.assert_allclose(table[probs], told[probs], atol=1e-5)
    np.testing.assert_allclose(table["threshold"], told["threshold"], atol=1e-7)
    assert table["decision"].tolist() == told["decision"].tolist()
    with pytest.raises(UserError, match="go with whole images"):
        jobs.predict(jobs.best(run), *where, "overwrite=true", "calibration=isotonic", "dense=true")


def _one_number_everywhere(run: Path) -> None:
    """Line, metrics.json, predictions.csv and page say the same of decisions: at the threshold."""
    table, metrics = pd.read_csv(run / "predictions.csv"), jobs.metrics(run)
    positive = "malignant"
    called = table[f"prob:{positive}"] >= table["threshold"]
    assert table["decision"].eq(positive).tolist() == called.tolist()
    ill = table["label"] == positive
    expected = {"accuracy": (called == ill).mean(), "sensitivity": called[ill].mean()}
    page = (run / "report.html").read_text()
    for name, value in expected.items():
        for key in (f"test/{name}", f"test/clinic/{name}"):
            assert metrics[key]["value"] == pytest.approx(value, abs=1e-12)
        assert metrics[f"test/{name}"] == metrics[f"test/clinic/{name}"]  # bounds, too
        assert f"{name} {value:.3f}" in headline(metrics)
        assert f"{100 * value:.1f} %" in page


def test_one_file_and_a_pattern(phantom_run: Path, pictures: Path, tmp_path: Path) -> None:
    files = sorted(pictures.iterdir())
    jobs.predict(jobs.best(phantom_run), f"images='{files[0]}'", f"output='{tmp_path / 'one.csv'}'")
    assert pd.read_csv(tmp_path / "one.csv")["image"].tolist() == [str(files[0])]
    pattern = pictures / "00*.png"
    jobs.predict(jobs.best(phantom_run), f"images='{pattern}'", f"output='{tmp_path / 'some.csv'}'")
    found = [str(path) for path in sorted(pictures.glob("00*.png"))]
    assert pd.read_csv(tmp_path / "some.csv")["image"].tolist() == found


def test_colour_and_other_sizes(phantom_run: Path, samples: Samples, tmp_path: Path) -> None:
    row = int(samples.rows("test")[0])
    grey = samples.images[row, 0].numpy()
    Image.fromarray(np.stack([grey] * 3, -1)).save(tmp_path / "colour.png")
    Image.fromarray(grey.repeat(2, 0).repeat(2, 1)).save(tmp_path / "large.png")
    output = tmp_path / "out" / "table.csv"
    jobs.predict(jobs.best(phantom_run), f"images='{tmp_path}'", f"output='{output}'")
    told = pd.read_csv(phantom_run / "predictions.csv").set_index("row")
    table = pd.read_csv(output)
    np.testing.assert_allclose(table[PROBS].iloc[0], told[PROBS].loc[row], atol=1e-5)
    np.testing.assert_allclose(table[PROBS].iloc[1], told[PROBS].loc[row], atol=0.2)


def test_a_damaged_file_among_good_ones(
    phantom_run: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from medcnn.predict import predict

    files = sorted(pictures.iterdir())[:3]
    for file in files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damaged = tmp_path / files[1].name
    damaged.write_bytes(damaged.read_bytes()[:60])
    output = tmp_path / "table.csv"
    arguments = (f"checkpoint={phantom_run / 'checkpoints' / 'best.ckpt'}", "accelerator=cpu",
                 f"images={tmp_path}", f"output={output}", "batch_size=2")  # fmt: skip
    assert jobs.command(monkeypatch, predict, "predict", *arguments) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 2
    assert error[0].startswith(f"medcnn: {damaged} is damaged")
    assert error[1] == "medcnn: 1 of 3 images could not be read or classified"
    assert pd.read_csv(output)["image"].tolist() == [str(tmp_path / files[k].name) for k in (0, 2)]


def test_nothing_but_damaged_files(phantom_run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    output = tmp_path / "table.csv"
    with pytest.raises(UserError, match="none of 1 files could be read"):
        jobs.predict(jobs.best(phantom_run), f"images='{tmp_path}'", f"output='{output}'")
    assert not output.exists()


def test_an_existing_output_is_kept(phantom_run: Path, pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "table.csv"
    output.write_text("mine")
    options = (jobs.best(phantom_run), f"images='{pictures}'", f"output='{output}'")
    with pytest.raises(UserError, match=r"table\.csv exists; overwrite=true replaces it"):
        jobs.predict(*options)
    assert output.read_text() == "mine"
    jobs.predict(*options, "overwrite=true")
    assert len(pd.read_csv(output)) == 18


def test_no_images(phantom_run: Path, tmp_path: Path) -> None:
    options = (jobs.best(phantom_run), f"output='{tmp_path / 'table.csv'}'")
    with pytest.raises(UserError, match="holds no image"):
        jobs.predict(*options, f"images='{tmp_path}'")
    with pytest.raises(UserError, match="is neither a file, nor a folder"):
        jobs.predict(*options, f"images='{tmp_path / 'x*.png'}'")


@pytest.mark.parametrize("batch_size", ["0", "-1", "few"])
def test_bad_batch_size(phantom_run: Path, pictures: Path, tmp_path: Path, batch_size: str) -> None:
    options = (jobs.best(phantom_run), f"images='{pictures}'", f"output='{tmp_path / 'table.csv'}'")
    with pytest.raises(UserError, match=f"batch_size={batch_size}"):
        jobs.predict(*options, f"batch_size={batch_size}")


def test_colour_net_on_grey_files(tmp_path: Path) -> None:
    root = jobs.write_medmnist(tmp_path / "data", "dermamnist", 7)
    options = ("dataset=dermamnist", "dataset.download=false", f"dataset.root='{root}'")
    run = jobs.train(tmp_path / "run", *options, *jobs.PLAIN, "model=lenet", "cam.n=0",
                     "trainer.max_epochs=1")  # fmt: skip
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (40, 40), np.uint8)).save(tmp_path / "grey.png")
    output = tmp_path / "table.csv"
    jobs.predict(jobs.best(run), f"images='{tmp_path / 'grey.png'}'", f"output='{output}'")
    assert pd.read_csv(output).filter(like="prob:").sum(axis=1)[0] == pytest.approx(1, abs=1e-5)
    names = medcnn.load(run / "checkpoints" / "best.ckpt").card["class_names"]
    assert pd.read_csv(output)["decision"][0] in names


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validation on volumes that don't say how they lie, each fold with its own range."""
    folder = tmp_path_factory.mktemp("volumes")
    for k in range(12):
        values = np.random.default_rng(k).integers(0, 50 * (k + 1), (6, 8, 8))
        np.save(folder / f"{k}.npy", values.astype(np.int16))
    table = pd.DataFrame({"image": [f"{k}.npy" for k in range(12)], "patient": range(12)})
    table.assign(label=np.resize(["a", "b"], 12)).to_csv(folder / "table.csv", index=False)
    data = ("dataset=csv", f"dataset.path='{folder / 'table.csv'}'", "dataset.size=28",
            "dataset.slices=all", "dataset.allow_missing_geometry=true",
            "dataset.intensity=training_percentile",
            f"cache.folder='{folder / 'cache'}'")  # fmt: skip
    options = ("model=lenet", "trainer.max_epochs=1", "fold=all", "folds=3", "cam.n=0")
    return jobs.train(folder / "run", *jobs.PLAIN, *options, *data)


def test_each_member_scales_images_by_its_own_range(folds: Path, tmp_path: Path) -> None:
    images = f"images='{folds.parent / '0.npy'}'"
    alone = []
    for k in range(3):
        output = tmp_path / f"{k}.csv"
        jobs.predict(jobs.best(folds / f"fold-{k}"), images, f"output='{output}'")
        alone.append(pd.read_csv(output)["prob:a"][0])
    jobs.predict(f"checkpoint='{folds}'", images, f"output='{tmp_path / 'all.csv'}'")
    assert pd.read_csv(tmp_path / "all.csv")["prob:a"][0] == pytest.approx(np.mean(alone), abs=1e-5)
    ranges = [jobs.checkpoint(folds / f"fold-{k}")["medcnn"]["intensity_range"] for k in range(3)]
    assert len({tuple(pair) for pair in ranges}) == 3
    told = pd.read_csv(folds / "predictions_study.csv").set_index("study").loc["0.npy"]
    own = int(told["fold"])
    assert alone[own] == pytest.approx(told["prob:a"], abs=1e-5)


def test_volumes_without_geometry_are_taken_where_that_is_said(
    folds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (jobs.best(folds / "fold-0"), f"images='{folds.parent / '1.npy'}'")
    strict = "dataset.allow_missing_geometry=false"
    with pytest.raises(UserError, match="none of 1 files could be read"):
        jobs.predict(*arguments, f"output='{tmp_path / 'a.csv'}'", strict)
    assert "doesn't say how it lies" in capsys.readouterr().err
    jobs.predict(*arguments, f"output='{tmp_path / 'a.csv'}'", strict.replace("false", "true"))
    assert len(pd.read_csv(tmp_path / "a.csv")) == 1


def test_one_picture_of_a_film_and_slices_of_a_volume(
    phantom_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import nibabel
    import tifffile

    film = np.random.default_rng(0).integers(0, 255, (3, 32, 32), np.uint8)
    tifffile.imwrite(tmp_path / "film.tif", film, photometric="minisblack")
    Image.fromarray(film[1]).save(tmp_path / "one.png")
    nibabel.save(nibabel.Nifti1Image(film, np.eye(4)), tmp_path / "volume.nii")

    def predict(name: str, *options: str) -> pd.DataFrame:
        images, output = f"images='{tmp_path / name}'", f"output='{tmp_path / 'a.csv'}'"
        jobs.predict(jobs.best(phantom_run), images, output, "overwrite=true", *options)
        return pd.read_csv(tmp_path / "a.csv")

    with pytest.raises(UserError, match="none of 1 files could be read"):
        predict("film.tif")
    assert "dataset.frame=0, 1, … or centre one picture of a film" in capsys.readouterr().err
    taken = predict("film.tif", "dataset.frame=1")
    np.testing.assert_allclose(taken[PROBS], predict("one.png")[PROBS], atol=1e-6)
    assert len(predict("volume.nii", "dataset.slices=centre")) == 1
    with pytest.raises(UserError, match=r"dataset\.frame=-1: give a number from 0"):
        predict("film.tif", "dataset.frame=-1")


def test_a_file_too_large_for_memory_is_named_and_the_rest_goes_on(
    phantom_run: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from medcnn.data.formats import array

    (tmp_path / "in").mkdir()
    for k, path in enumerate(sorted(pictures.iterdir())[:2]):
        (tmp_path / "in" / f"{k}.png").write_bytes(path.read_bytes())
    np.save(tmp_path / "in" / "large.npy", np.zeros((32, 32), np.uint8))

    def too_large(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(array, "check_shape", too_large)
    images, output = f"images='{tmp_path / 'in'}'", f"output='{tmp_path / 'a.csv'}'"
    with pytest.raises(UserError, match="1 of 3 images could not be read"):
        jobs.predict(jobs.best(phantom_run), images, output)
    assert "large.npy is too large for this machine's memory" in capsys.readouterr().err
    assert len(pd.read_csv(tmp_path / "a.csv")) == 2


def broken(run: Path, folder: Path, weights: bool) -> Path:
    """A run whose weights are NaN, or what its images are normalised by."""
    content = jobs.checkpoint(run)
    if weights:
        for value in content["state_dict"].values():
            value.fill_(torch.nan)
    else:
        content["medcnn"]["mean"] = [torch.nan]
    path = folder / "checkpoints" / "best.ckpt"
    path.parent.mkdir(parents=True)
    torch.save(content, path)
    return path


def test_weights_that_hold_nan_are_refused(
    phantom_run: Path, pictures: Path, tmp_path: Path
) -> None:
    path = broken(phantom_run, tmp_path / "nan", weights=True)
    one = f"checkpoint='{path}'"
    both = f"ensemble=['{phantom_run}','{tmp_path / 'nan'}']"
    given = (f"images='{pictures}'", f"output='{tmp_path / 'a.csv'}'")
    for job in (
        lambda: jobs.predict(one, *given),
        lambda: jobs.predict(one, "dense=true", *given),
        lambda: jobs.predict(both, *given),
        lambda: jobs.explain(one, f"image='{pictures}'", f"output='{tmp_path / 'maps'}'"),
    ):
        with pytest.raises(UserError, match=r"best\.ckpt: \d+ of \d+ tensors hold NaN"):
            job()
    assert not (tmp_path / "a.csv").exists()


def test_an_image_of_which_the_net_says_nothing_is_named(
    phantom_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = broken(phantom_run, tmp_path / "other", weights=False)
    given = (f"images='{pictures}'", f"output='{tmp_path / 'a.csv'}'")
    with pytest.raises(UserError, match="none of 18 files could be read or classified"):
        jobs.predict(f"checkpoint='{path}'", *given)
    assert capsys.readouterr().err.count("makes the net give NaN or infinite numbers") == 18
    with pytest.raises(UserError, match="none of 18 files could be used"):
        jobs.predict(f"checkpoint='{path}'", "dense=true", *given)
    capsys.readouterr()
    with pytest.raises(UserError, match="18 of 18 images could not be read or explained"):
        jobs.explain(f"checkpoint='{path}'", f"image='{pictures}'", f"output='{tmp_path / 'm'}'")
    assert capsys.readouterr().err.count("there is nothing that a map could explain") == 18
