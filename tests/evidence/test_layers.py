"""Pictures that a page lays over each other."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import medcnn
from medcnn.data.open_data import data_config, open_data
from medcnn.evidence import Explainer
from medcnn.evidence.layers import worst_rows, write_layers, write_pictures
from medcnn.report.maps.item import GalleryItem


@pytest.fixture(scope="module")
def explainer(phantom_run: Path) -> Explainer:
    import jobs

    classifier = medcnn.load(phantom_run / "checkpoints" / "best.ckpt")
    cfg = jobs.compose("evaluate")
    settings = data_config(classifier.card["config"], cfg)
    samples = open_data(settings, [], card=classifier.card, checked=False).samples
    return Explainer(classifier, samples)  # type: ignore[arg-type]


def test_pictures_are_the_images_and_their_maps(explainer: Explainer, tmp_path: Path) -> None:
    rows = explainer.samples.rows("test")[:5]
    kinds = {"sample": rows, "error": rows[:0]}
    write_layers(explainer, kinds, "gradcam", tmp_path, 2)
    records = json.loads((tmp_path / "layers.json").read_text())
    assert [record["row"] for record in records] == rows.tolist()
    batch = explainer.batch(rows)
    probs, decided, maps = explainer.decisions(batch.images, "gradcam")
    for k, record in enumerate(records):
        image = np.asarray(Image.open(tmp_path / record["image"]))
        expected = (batch.images[k, 0] * 255).round().byte().numpy()
        assert np.array_equal(image, expected)
        if record["empty"]:
            assert record["map"] is None
        else:
            shown = np.asarray(Image.open(tmp_path / record["map"])).astype(float)
            scaled = maps[k].clamp(min=0) / maps[k].max() * 255
            np.testing.assert_allclose(shown, scaled.numpy(), atol=0.51)
        assert record["predicted"] == explainer.samples.class_names[int(decided[k])]
        assert record["probability"] == pytest.approx(float(probs[k].max()))
        assert (record["mask"] is None) == (not batch.masks[k].any())  # type: ignore[index]
        assert record["kind"] == "sample"


def test_of_a_volume_three_planes_and_slices_to_scroll_through(tmp_path: Path) -> None:
    """SPL of 40 × 6 × 9 voxels; the pixels are looked up in the volume by hand."""
    values = np.random.default_rng(0).random((40, 6, 9))
    map_ = np.zeros(values.shape)
    map_[11, 1, 7] = 1.0
    item = GalleryItem(
        values, map_, map_ > 0, "a", "b", 0.7, False, "row 5", (3.0, 2.0, 1.0), "SPL"
    )
    axial, coronal, sagittal = write_pictures(item, tmp_path, "5")["planes"]
    assert [one["name"] for one in (axial, coronal, sagittal)] == ["axial", "coronal", "sagittal"]
    assert len(axial["slices"]) == 32
    assert axial["slices"][::31] == [0, 39]
    assert axial["slices"][axial["shown"]] == 11
    whole = (values * 255).round().astype(np.uint8)
    found = {key: np.asarray(Image.open(tmp_path / axial[key])) for key in ("image", "map", "mask")}
    assert np.array_equal(found["image"], whole[axial["slices"]].reshape(-1, 9))
    for key in ("map", "mask"):
        assert np.argwhere(found[key]).tolist() == [[6 * axial["shown"] + 1, 7]]
    for plane, expected in ((coronal, whole[::-1, 1]), (sagittal, whole[::-1, :, 7])):
        assert np.array_equal(np.asarray(Image.open(tmp_path / plane["image"])), expected)
    ratios = [plane["ratio"] for plane in (axial, coronal, sagittal)]
    np.testing.assert_allclose(ratios, [9 / 12, 9 / 120, 12 / 120])  # mm
    assert [plane["width"] for plane in (axial, coronal, sagittal)] == [9, 9, 12]


def test_a_run_has_them_with_its_worst_errors(phantom_run: Path) -> None:
    records = json.loads((phantom_run / "cams" / "layers.json").read_text())
    errors = [record["row"] for record in records if record["kind"] == "error"]
    assert errors == worst_rows(phantom_run / "evaluation.json").tolist()
    assert len(errors) > 0
    assert all(record["correct"] is False for record in records if record["kind"] == "error")
    assert len([record for record in records if record["kind"] == "sample"]) == 4


def test_large_pictures_are_made_smaller_and_colour_stays(tmp_path: Path) -> None:
    map_ = np.random.default_rng(0).random((400, 200))
    item = GalleryItem(np.stack([map_] * 3, -1), map_, None, "a", "b", 0.7, True)
    files = write_pictures(item, tmp_path, "7")
    picture = Image.open(tmp_path / files["image"])
    assert (picture.size, picture.mode) == ((160, 320), "RGB")
    item.spacing = (0.5, 1.0)
    files = write_pictures(item, tmp_path, "7")
    assert Image.open(tmp_path / files["map"]).size == (320, 320)
    assert files["ratio"] == 1


def test_no_evaluation_no_errors(tmp_path: Path) -> None:
    assert len(worst_rows(tmp_path / "evaluation.json")) == 0
