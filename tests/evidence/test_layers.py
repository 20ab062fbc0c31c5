"""Pictures that a page lays over each other."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import medcnn
from medcnn.datasets import data_config, open_data
from medcnn.evidence import Explainer
from medcnn.evidence.layers import worst_rows, write_layers


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
        shown = np.asarray(Image.open(tmp_path / record["map"])).astype(float)
        if record["empty"]:
            assert not shown.any()
        else:
            scaled = maps[k].clamp(min=0) / maps[k].max() * 255
            np.testing.assert_allclose(shown, scaled.numpy(), atol=0.51)
        assert record["predicted"] == explainer.samples.class_names[int(decided[k])]
        assert record["probability"] == pytest.approx(float(probs[k].max()))
        assert (record["mask"] is None) == (not batch.masks[k].any())  # type: ignore[index]
        assert record["kind"] == "sample"


def test_of_a_volume_the_plane_of_the_maximum(
    explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = explainer.samples.rows("test")[:1]
    volume, maps = torch.zeros(1, 1, 4, 6, 6), torch.zeros(1, 4, 6, 6)
    volume[0, 0, 2], maps[0, 2, 1, 1] = 0.5, 3.0
    batch = explainer.batch(rows)._replace(images=volume, masks=maps.bool())
    monkeypatch.setattr(explainer, "batches", lambda *_: [batch])
    decided = torch.zeros(1, dtype=torch.int64)
    answer = (torch.tensor([[0.7, 0.2, 0.1]]), decided, maps)
    monkeypatch.setattr(explainer, "decisions", lambda *_: answer)
    write_layers(explainer, {"error": rows}, "gradcam", tmp_path, 1)
    (record,) = json.loads((tmp_path / "layers.json").read_text())
    assert (np.asarray(Image.open(tmp_path / record["image"])) == 128).all()
    for name in ("map", "mask"):
        shown = np.asarray(Image.open(tmp_path / record[name]))
        assert shown.shape == (6, 6)
        assert shown[1, 1] == 255
        assert shown.sum() == 255


def test_a_run_has_them_with_its_worst_errors(phantom_run: Path) -> None:
    records = json.loads((phantom_run / "cams" / "layers.json").read_text())
    errors = [record["row"] for record in records if record["kind"] == "error"]
    assert errors == worst_rows(phantom_run / "evaluation.json").tolist()
    assert len(errors) > 0
    assert all(record["correct"] is False for record in records if record["kind"] == "error")
    assert len([record for record in records if record["kind"] == "sample"]) == 4


def test_large_pictures_are_made_smaller_and_colour_stays(tmp_path: Path) -> None:
    from medcnn.evidence.layers import _write

    layers = {"image": torch.rand(3, 400, 200), "map": torch.rand(400, 200)}
    names = _write(layers, tmp_path, 7)
    assert Image.open(tmp_path / names["image"]).size == (128, 256)
    assert Image.open(tmp_path / names["image"]).mode == "RGB"


def test_no_evaluation_no_errors(tmp_path: Path) -> None:
    assert len(worst_rows(tmp_path / "evaluation.json")) == 0
