"""Maps of single files: pictures, arrays, and volumes in the space of the patient."""

from pathlib import Path

import in_parts
import jobs
import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import medcnn
from medcnn.cam import explain
from medcnn.errors import UserError
from medcnn.evidence import file_pictures
from medcnn.evidence import of_files as explain_files
from medcnn.evidence.file_pictures import draw_items
from medcnn.report.maps.item import GalleryItem


def checkpoint(run: Path) -> str:
    return f"checkpoint='{run / 'checkpoints' / 'best.ckpt'}'"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of PNG files, of two sizes, and one that is no image."""
    folder = tmp_path_factory.mktemp("films")
    noise = np.random.default_rng(0)
    for name, size in (("a", (28, 28)), ("b", (40, 56))):
        Image.fromarray(noise.integers(0, 255, size, np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def volume_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 3-D net, trained on a few volumes that are NIfTI files."""
    folder = tmp_path_factory.mktemp("volumes")
    rows = []
    generator = np.random.default_rng(1)
    affine = np.array([[-2.0, 0, 0, 20], [0, 1.5, 0, -10], [0, 0, 3.0, 5], [0, 0, 0, 1]])
    for n in range(12):
        values = generator.integers(0, 100, (24, 22, 20)).astype(np.int16)
        values[6:12, 6:12, 6:12] += 300 * (n % 2)
        nibabel.Nifti1Image(values, affine).to_filename(folder / f"v{n}.nii.gz")
        rows.append({"image": f"v{n}.nii.gz", "label": n % 2, "patient": n})
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    options = (*jobs.PLAIN, "model=lenet", "cam.n=0", "near_duplicates=false")
    data = (
        "dataset=csv",
        f"dataset.path='{folder / 'table.csv'}'",
        "dataset.size=24",
        "dataset.spatial_dims=3",
    )
    places = (f"cache.folder='{folder / 'cache'}'", "dataset.intensity=[0,400]")
    return jobs.train(folder / "run", *options, *data, *places)


def test_maps_go_on_and_are_shared(
    phantom_run: Path, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = (checkpoint(phantom_run), f"image='{films}'")
    whole = jobs.explain(*given, f"output='{tmp_path / 'whole'}'")
    monkeypatch.setattr(explain_files, "ROWS", 1)
    out = f"output='{tmp_path / 'parts'}'"
    with monkeypatch.context() as patch:
        in_parts.stop_after(patch, 1)
        with pytest.raises(KeyboardInterrupt, match="after 1 of 2 files explained; the same"):
            jobs.explain(*given, out)
    in_parts.in_this_process(monkeypatch, explain_files.begin_in_worker)
    found = jobs.explain(*given, out, "processes=2")
    pd.testing.assert_frame_equal(found, whole)
    for name in ("a-gradcam.npy", "b-gradcam.png"):
        one, other = (tmp_path / folder / name for folder in ("whole", "parts"))
        assert one.read_bytes() == other.read_bytes()
    assert not list((tmp_path / "parts").glob("*.parts"))
    with pytest.raises(UserError, match=r"processes=2 goes with image=…"):
        jobs.explain(given[0], "processes=2")


@pytest.mark.slow
def test_real_processes_share_the_maps(phantom_run: Path, films: Path, tmp_path: Path) -> None:
    given = (checkpoint(phantom_run), f"image='{films}'", f"output='{tmp_path}'")
    assert len(jobs.explain(*given, "processes=2")) == 2


def test_a_folder_of_pictures(phantom_run: Path, films: Path, tmp_path: Path) -> None:
    out = f"output='{tmp_path}'"
    table = jobs.explain(
        checkpoint(phantom_run), f"image='{films}'", "methods=[gradcam,hirescam]", out
    )
    names = {path.name for path in tmp_path.iterdir()}
    stems = [f"{name}-{method}" for name in "ab" for method in ("gradcam", "hirescam")]
    assert names == {"maps.csv", *(f"{s}.png" for s in stems), *(f"{s}.npy" for s in stems)}
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "maps.csv"), table)
    assert table["method"].tolist() == ["gradcam", "hirescam"] * 2
    classifier = medcnn.load(phantom_run / "checkpoints" / "best.ckpt")
    pixels = np.asarray(Image.open(films / "a.png"), np.float32)[None, None] / 255
    image = classifier.normalise(torch.from_numpy(pixels))
    expected = explain(classifier.net, image, objective=classifier.objective)[0]
    np.testing.assert_allclose(np.load(tmp_path / "a-gradcam.npy"), expected, atol=1e-5)
    with Image.open(tmp_path / "b-hirescam.png") as picture:
        assert min(picture.size) > 300


def test_one_bad_file_does_not_stop_the_rest(
    phantom_run: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes((films / "a.png").read_bytes())
    (tmp_path / "in" / "bad.png").write_bytes(b"nothing")
    out = f"output='{tmp_path / 'out'}'"
    with pytest.raises(UserError, match="1 of 2 images could not be read"):
        jobs.explain(checkpoint(phantom_run), f"image='{tmp_path / 'in'}'", out)
    assert "bad.png" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["a-gradcam.png"]
    with pytest.raises(UserError, match="image="):
        jobs.explain(checkpoint(phantom_run), f"image='{tmp_path / 'nowhere'}'", out)
    with pytest.raises(UserError, match="methods=magic"):
        jobs.explain(checkpoint(phantom_run), f"image='{films}'", out, "methods=magic")


def test_maps_are_replaced_on_request_alone(phantom_run: Path, films: Path, tmp_path: Path) -> None:
    given = (checkpoint(phantom_run), f"image='{films / 'a.png'}'", f"output='{tmp_path}'")
    picture = tmp_path / "a-gradcam.png"
    picture.touch()
    with pytest.raises(UserError, match=r"output=.*: a-gradcam\.png exists; overwrite=true repl"):
        jobs.explain(*given)
    assert [path.name for path in tmp_path.iterdir()] == ["a-gradcam.png"]
    jobs.explain(*given, "overwrite=true")
    assert picture.stat().st_size > 0
    with pytest.raises(UserError, match=r"maps\.csv exists"):
        jobs.explain(*given, "methods=hirescam")


def test_no_output_overwrites_that_of_another_file(
    phantom_run: Path, films: Path, tmp_path: Path
) -> None:
    places = ["a/x/1.png", "b/x/1.png", "c/2.dcm", "c/2.png"]  # by its mark the .dcm is a PNG file
    for place in places:
        (tmp_path / "in" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / place).write_bytes((films / "a.png").read_bytes())
    out = tmp_path / "out"
    jobs.explain(checkpoint(phantom_run), f"image='{tmp_path / 'in'}'", f"output='{out}'")
    table = pd.read_csv(out / "maps.csv")
    assert table["image"].tolist() == [str(tmp_path / "in" / place) for place in places]
    assert table["picture"].tolist() == [f"{place}-gradcam.png" for place in places]
    assert all((out / picture).is_file() for picture in table["picture"])
    assert len(list(out.rglob("*.npy"))) == 4


def test_a_volume_is_drawn_in_its_own_voxels(
    volume_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LAS of 24 × 22 × 20 voxels, which the network receives as 24³: turned by hand here."""
    drawn: list[GalleryItem] = []
    monkeypatch.setattr(file_pictures, "draw_planes", lambda item, *_, **__: drawn.append(item))
    monkeypatch.setattr(file_pictures, "draw_mosaic", lambda *_, **__: None)
    source = volume_run.parent / "v1.nii.gz"
    jobs.explain(checkpoint(volume_run), f"image='{source}'", f"output='{tmp_path}'")
    (item,) = drawn
    values = np.asarray(nibabel.load(source).dataobj)  # type: ignore[attr-defined]
    spl = values.transpose(2, 1, 0)[:, ::-1]
    np.testing.assert_allclose(item.image, (spl / 400).clip(0, 1), atol=1e-6)
    assert item.map.shape == spl.shape
    assert item.spacing == pytest.approx((3.0, 1.5, 2.0))
    assert (item.orientation, item.name) == ("SPL", "v1.nii.gz")


def test_names_of_slices_sort_as_they_lie(tmp_path: Path) -> None:
    flat = GalleryItem(np.zeros((8, 8)), np.ones((8, 8)), None, "a", "a", None, None)
    for count, last in ((12, "x-cam-slice_011.png"), (1, "x-cam.png")):
        names = [path.name for path in draw_items([flat] * count, tmp_path / "x-cam", "own")]
        assert names[-1] == last
        assert names == sorted(names)
        assert all((tmp_path / name).exists() for name in names)


def test_a_volume_lies_over_its_image(volume_run: Path, tmp_path: Path) -> None:
    source = volume_run.parent / "v1.nii.gz"
    jobs.explain(checkpoint(volume_run), f"image='{source}'", f"output='{tmp_path}'")
    image, found = nibabel.load(source), nibabel.load(tmp_path / "v1-gradcam.nii.gz")
    assert found.shape == image.shape
    np.testing.assert_allclose(found.affine, image.affine)
    assert np.load(tmp_path / "v1-gradcam.npy").shape == (24, 24, 24)
    for name in ("v1-gradcam.png", "v1-gradcam-slices.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 300
