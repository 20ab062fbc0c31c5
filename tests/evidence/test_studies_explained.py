"""The evidence of a trained network of studies, by the command."""

import json
import re
from pathlib import Path

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import medcnn
from medcnn.classifier.classifier import Classifier

SPLITS = ["train"] * 12 + ["val"] * 4 + ["test"] * 4


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training on 20 studies of three images, one of which shows a marked square."""
    folder, draw = tmp_path_factory.mktemp("explained"), np.random.default_rng(0)
    rows = []
    for number, split in enumerate(SPLITS):
        for k in range(3):
            pixels, mask = draw.integers(0, 60, (28, 28), dtype=np.uint8), ""
            if number % 2 and k == number // 2 % 3:
                pixels[8:20, 8:20] += 150
                mask = f"{number}-mask.png"
                Image.fromarray(np.pad(np.full((12, 12), 255, np.uint8), 8)).save(folder / mask)
            name = f"{number}-{k}.png"
            Image.fromarray(pixels).save(folder / name)
            rows.append([name, number % 2, f"p{number}", f"s{number}", mask, split])
    columns = ["image", "label", "patient", "study", "mask", "split"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "table.csv", index=False)
    options = jobs.of_studies(folder / "table.csv", "dataset.size=28", "batch_size=16", "cam.n=2")
    return jobs.train(folder / "run", *options)


def test_a_training_ends_with_sheets_of_studies(run: Path) -> None:
    scores = json.loads((run / "cams" / "scores.json").read_text())
    assert scores["test/image_pointing_game_attention"]["n"] == 2
    assert jobs.metrics(run)["test/image_pointing_game_middle"]["n"] == 2
    assert (run / "cams" / "gallery.png").exists()
    page = (run / "report.html").read_text()
    assert 'data-unit="image"' in page
    assert re.search(r"image [123] of 3", page)


def test_the_command_writes_images_and_their_effects(run: Path) -> None:
    found = jobs.explain(jobs.best(run), "n=2", "batch_size=3", "methods=[gradcam,layercam]")
    folder = run / "cams" / "table-test"
    images = pd.read_csv(folder / "images.csv")
    assert images["study"].tolist() == [f"s{16 + k // 3}" for k in range(12)]
    assert images.groupby("study")["attention"].sum().tolist() == pytest.approx([1] * 4)
    assert images["lesion"].sum() == 2
    classifier = medcnn.load(run / "checkpoints" / "best.ckpt")
    assert isinstance(classifier, Classifier)
    own = images[images["study"] == "s17"]
    pictures = torch.cat([classifier.read(run.parent / name) for name in own["image"]])

    def logit(kept: list[int]) -> float:
        context = {"bag": torch.zeros(len(kept), dtype=torch.int64)}
        score = float(classifier.logits(pictures[kept], context)[0, 0])
        return score if set(own["explained"].astype(str)) == {"1"} else -score

    effects = [logit([0, 1, 2]) - logit([k for k in range(3) if k != one]) for one in range(3)]
    assert own["effect"].tolist() == pytest.approx(effects, abs=1e-5)
    groups = {record["group"] for record in found["scores"]}
    assert groups == {"image_localisation", "image_faithfulness", "image_sanity"}
    assert found["settings"]["studies"] == 4
    assert any(note.startswith("The most important image shows") for note in found["notes"])
    page = (folder / "index.html").read_text()
    assert "Which image?" in page
    assert {path.name for path in folder.glob("gallery-*")} == {
        "gallery-gradcam.png", "gallery-layercam.png"
    }  # fmt: skip
    assert not (folder / "channels.csv").exists()


def test_a_file_is_a_study_by_itself(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = run.parent / "17-0.png"
    table = jobs.explain(jobs.best(run), f"image='{picture}'", f"output='{tmp_path}'")
    assert "each is a study by itself" in capsys.readouterr().out
    assert table["attention"].tolist() == [1]
    assert table["effect"].isna().all()
    assert "slice" not in table
    assert (tmp_path / "17-0-gradcam.png").exists()
    assert np.load(tmp_path / "17-0-gradcam.npy").shape == (28, 28)
