"""Maps of a checkpoint, and whether they hit the lesion."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import jobs
import numpy as np
import pytest
import torch
from PIL import Image

import medcnn
from medcnn.data.open_data import make_source
from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.evidence.of_run import explain_split
from medcnn.evidence.summary import interval

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

SCRIPT = jobs.ROOT / "scripts" / "visualize_cam.py"


def best(run: Path) -> str:
    return f"checkpoint='{run / 'checkpoints' / 'best.ckpt'}'"


@pytest.fixture(scope="module")
def samples(phantom_run: Path) -> Samples:
    return make_source(jobs.checkpoint(phantom_run)["medcnn"]["config"]["dataset"])


@pytest.fixture(scope="module")
def pooled_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net that ends in global average pooling, which method=cam needs."""
    options = (*jobs.QUICK, "~model.name", f"model._target_={jobs.SMALL_NET}")
    folder = tmp_path_factory.mktemp("pooled") / "run"
    return jobs.train(folder, *options, "trainer.max_epochs=1", trust=[jobs.SMALL_NET])


def test_gallery_and_raw_maps(phantom_run: Path, samples: Samples, tmp_path: Path) -> None:
    out = tmp_path / "maps"
    jobs.explain(best(phantom_run), f"output='{out}'", "n=5", "batch_size=2", "scores=[]")
    rows = samples.spread(samples.rows("test"), 5).tolist()
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    raw_maps = {f"maps/gradcam/{row}.npy" for row in rows}
    assert files == {"gallery-gradcam.png", "scores.json", "scores.csv", "index.html", *raw_maps}
    with Image.open(out / "gallery-gradcam.png") as picture:
        assert min(picture.size) > 300
    for row in rows:
        raw = np.load(out / "maps" / "gradcam" / f"{row}.npy")
        assert raw.shape == (28, 28)
        assert raw.dtype == np.float32
        assert np.isfinite(raw).all()


def test_maps_explain_the_decision(phantom_run: Path, samples: Samples, tmp_path: Path) -> None:
    """Grad-CAM (Selvaraju et al. 2017, eq. 1-2), written out by hand for one image."""
    jobs.explain(best(phantom_run), f"output='{tmp_path}'", "n=3", "scores=[]")
    classifier = medcnn.load(phantom_run / "checkpoints" / "best.ckpt")
    for file in tmp_path.rglob("*.npy"):
        image = samples.images[int(file.stem)][None].float() / 255
        activations = classifier.features(image).detach().requires_grad_()
        logits = classifier.head(activations)
        logits[0, logits.argmax()].backward()
        assert activations.grad is not None
        weights = activations.grad.mean((2, 3), keepdim=True)
        small = (weights * activations.detach()).sum(1, keepdim=True).relu()
        expected = torch.nn.functional.interpolate(small, (28, 28), mode="bilinear")[0, 0]
        np.testing.assert_allclose(np.load(file), expected.numpy(), atol=1e-5)


def test_pointing_game_by_hand(phantom_run: Path, samples: Samples, tmp_path: Path) -> None:
    classifier = medcnn.load(phantom_run / "checkpoints" / "best.ckpt")
    options = {"split": "train", "method": "gradcam", "n": 1}
    scores = explain_split(classifier, samples, tmp_path, **options)
    assert samples.masks is not None
    rows = [r for r in samples.rows("train").tolist() if samples.masks[r].any()]
    hits, centre = [], []
    for row in rows:
        image = samples.images[row][None].float() / 255
        activations = classifier.features(image).detach().requires_grad_()
        classifier.head(activations)[0, samples.labels[row]].backward()
        assert activations.grad is not None
        weights = activations.grad.mean((2, 3), keepdim=True)
        small = (weights * activations.detach()).sum(1, keepdim=True).relu()
        big = torch.nn.functional.interpolate(small, (28, 28), mode="bilinear")[0, 0]
        mask = samples.masks[row]
        hits.append(bool(big.max() > 0 and mask[big == big.max()].all()))
        centre.append(bool(mask[14, 14]))
    assert scores["train/pointing_game"]["value"] == pytest.approx(np.mean(hits))
    assert scores["train/pointing_game_centre"]["value"] == pytest.approx(np.mean(centre))
    for figure in scores.values():
        assert figure["n"] == len(rows)
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1


def test_plain_class_activation_map(pooled_run: Path, tmp_path: Path) -> None:
    """Zhou et al. (2016), eq. 2: the features, weighted by the last layer, without its bias."""
    checkpoint = pooled_run / "checkpoints" / "best.ckpt"
    classifier = medcnn.load(checkpoint, trust=[jobs.SMALL_NET])
    config = jobs.checkpoint(pooled_run)["medcnn"]["config"]
    data = make_source(config["dataset"])
    explain_split(classifier, data, tmp_path, split="test", method="cam", n=2)
    maps = list(tmp_path.glob("*.npy"))
    assert len(maps) == 2
    for file in maps:
        with torch.inference_mode():
            features = classifier.features(data.images[int(file.stem)][None].float() / 255)
            decided = int(classifier.head(features).argmax())
            weights = classifier.net.head.fc.weight[decided]
            expected = torch.einsum("k,khw->hw", weights, features[0])
        np.testing.assert_allclose(np.load(file), expected.numpy(), atol=1e-5)


def test_a_net_that_is_not_pooled_has_no_plain_map(phantom_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="method=gradcam"):
        jobs.explain(best(phantom_run), f"output='{tmp_path}'", "methods=cam")


def test_a_stage_by_its_name(phantom_run: Path, tmp_path: Path) -> None:
    jobs.explain(best(phantom_run), f"output='{tmp_path}'", "stage=c1", "n=1", "scores=[]")
    assert len(list(tmp_path.rglob("*.npy"))) == 1
    with pytest.raises(UserError, match="stage=c9: choose one of c1, c3, last"):
        jobs.explain(best(phantom_run), f"output='{tmp_path}'", "stage=c9")


def test_without_output_the_maps_lie_in_the_run_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = jobs.train(tmp_path / "run", *jobs.QUICK, "trainer.max_epochs=1")
    assert not (run / "cams").exists()
    folder = run / "cams" / "phantom-test"
    capsys.readouterr()
    jobs.explain(best(run), "n=2", "scores=[localisation]")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("gradcam pointing_game 0.")
    assert lines[-1] == f"page: {folder / 'index.html'}"
    assert (folder / "gallery-gradcam.png").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("methods=score", "methods=score: choose one of"),
        ("methods=[gradcam,score]", "methods=score: choose one of"),
        ("methods=[]", r"methods=\[\]: name at least one of cam"),
        ("scores=beauty", "scores=beauty: choose one of all, localisation, reliance"),
        ("sample=0", "sample=0"),
        ("smooth=1", "smooth=1"),
        ("scale=big", "scale=big"),
        ("split=holdout", "holdout split is empty"),
        ("accelerator=gpu", "accelerator=gpu: torch finds no supported GPU"),
        ("n=-3", "n=-3"),
        ("n=all", "n=all"),
        ("batch_size=0", "batch_size=0"),
        ("dataset.frame=0", "dataset.frame=0: images of the training are read as they were then"),
        ("dataset.slices=all", "dataset.slices=all: .* it goes with image=… or other data"),
    ],
)
def test_bad_input(phantom_run: Path, tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        jobs.explain(best(phantom_run), f"output='{tmp_path}'", override)


def test_a_net_without_maps(tmp_path: Path) -> None:
    run = jobs.train(tmp_path / "run", *jobs.QUICK, "model=mlp", "cam.n=4")
    assert jobs.status(run)["state"] == "finished"
    assert not (run / "cams").exists()
    with pytest.raises(UserError, match="no feature maps"):
        jobs.explain(best(run))


def test_interval_in_words() -> None:
    figure = {"value": 0.7311, "low": 0.65, "high": 0.8, "n": 3}
    assert interval(figure) == "0.731 [0.650, 0.800]"
    assert interval({**figure, "low": None, "high": None}) == "0.731"


def test_the_script(phantom_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [str(SCRIPT), best(phantom_run), f"output={tmp_path}", "n=2", "accelerator=cpu"]
    arguments += ["scores=[]"]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert (tmp_path / "gallery-gradcam.png").exists()


@pytest.mark.slow
def test_the_script_in_a_process_of_its_own(phantom_run: Path, tmp_path: Path) -> None:
    arguments = [best(phantom_run), f"output={tmp_path}", "n=2", "accelerator=cpu", "scores=[]"]
    environment = {**os.environ, "PYTHONPATH": str(jobs.ROOT)}
    command = [sys.executable, str(SCRIPT), *arguments]
    subprocess.run(command, check=True, cwd=tmp_path, env=environment, timeout=300)
    assert (tmp_path / "gallery-gradcam.png").exists()
