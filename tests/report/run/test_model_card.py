import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from fixture_runs import CLASSES, HOME, PERSON, write_json, write_run
from huggingface_hub import ModelCard

from medcnn.report.run.model_card import edited, markdown, write_model_card

SECTIONS = [
    "Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
    "Quantitative analyses", "Ethical considerations", "Caveats and recommendations",
]  # fmt: skip
ASK = "**To be filled in by the author:**"


def card(run: Path) -> str:
    out = write_model_card(run)
    text = out.read_text(encoding="utf-8")
    for personal in (PERSON, HOME, "erika", "Mustermann", str(run)):
        assert personal not in text
    return text


def section(text: str, title: str) -> str:
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def change(run: Path, name: str, **changes: Any) -> None:
    content = json.loads((run / name).read_text())
    write_json(run / name, {**content, **changes})


@pytest.mark.parametrize("task", list(CLASSES))
def test_a_card_of_each_task(tmp_path: Path, task: str) -> None:
    run = write_run(tmp_path / "run", task, images=2, patients=30)
    assert write_model_card(run) == run / "MODEL_CARD.md"
    text = card(run)
    assert re.findall("^## (.+)$", text, flags=re.MULTILINE) == SECTIONS
    for title in SECTIONS:
        assert ASK in section(text, title), title
    assert "\n\n\n" not in text
    assert "60 images of 30 patients" in section(text, "Evaluation data")
    assert "| images | 60 | 60 |" in section(text, "Training data")


def test_the_hub_reads_its_head(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    write_model_card(run)
    found = ModelCard.load(run / "MODEL_CARD.md")
    content = json.loads((run / "evaluation.json").read_text())
    figures = content["levels"]["image"]["figures"]
    data = found.data.to_dict()
    assert data["license"] == "unknown"
    assert data["pipeline_tag"] == "image-classification"
    assert {"medcnn", "medical-imaging", "resnet"} <= set(data["tags"])
    assert data["metrics"] == ["roc_auc", "f1", "accuracy"]
    results = {one.metric_type: one for one in found.data.eval_results}
    assert results["roc_auc"].metric_value == pytest.approx(figures["auroc"]["value"], abs=5e-5)
    assert results["roc_auc"].dataset_split == "test"
    assert found.text.startswith("\n# Model card: resnet on breastmnist")


def test_a_regression_is_no_classification(tmp_path: Path) -> None:
    head = yaml.safe_load(card(write_run(tmp_path / "run", "regression")).split("---")[1])
    assert "pipeline_tag" not in head
    assert "image-regression" in head["tags"]
    assert set(head["metrics"]) == {"mae", "r_squared"}


def test_what_the_files_know_stands_in_the_card(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", overrides=("model=resnet", f"dataset.root={HOME}"))
    text = card(run)
    figure = json.loads((run / "evaluation.json").read_text())
    auroc = figure["levels"]["image"]["figures"]["auroc"]["value"]
    details = section(text, "Model details")
    for fact in (
        "Network: resnet, depth 18, width 0.125",
        "Task: binary: benign and malignant; positive is malignant",
        "Input: 28 × 28 pixels in 2 dimensions, normalised by zscore",
        "Start of the training: scratch",
        "Optimizer: AdamW, lr 0.001, weight_decay 0.02",
        "Scheduler: onecycle",
        "Batch size: 32",
        "Seed: 0",
        "Epochs: 8, the best of them",
        "Date: 2026-11-28",
        "Training took: 1.0 minutes on the processor",
        "Software: medcnn 0.1.0, torch 2.6.0",
    ):
        assert f"- {fact}" in details
    assert "python -m medcnn.train model=resnet dataset.root=PATH" in details
    assert "Evaluated by sex" in section(text, "Factors")
    metrics = section(text, "Metrics")
    assert "Called positive from a probability of 0.31 on (chosen on the" in metrics
    assert "- AUROC: DeLong, logit scale" in metrics
    assert "- all other figures: bootstrap over patients" in metrics
    assert "Probabilities are recalibrated: temperature." in metrics
    analyses = section(text, "Quantitative analyses")
    assert f"| AUROC | {auroc:.3f} | \\[{auroc - 0.05:.3f}, " in analyses
    assert "| sex F | 33 | 0.830 \\[0.710, 0.900\\] |" in analyses
    assert "sex M" not in text
    assert "| malignant |" in analyses
    assert "near-duplicate images in two splits | warning | training and test | 2 |" in text
    assert "- The smallest class has 12 samples." in section(text, SECTIONS[-1])
    assert "same source" in section(text, SECTIONS[-1])


def test_little_is_known(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    for name in ("config.yaml", "environment.json", "metrics.csv", "samples.csv", "problems.csv"):
        (run / name).unlink()
    change(run, "status.json", seconds=None)
    change(
        run, "evaluation.json", levels={"image": {}}, operating_point=None, notes=[],
        intervals={}, calibration_applied="none", class_names=[f"c{k}" for k in range(100)],
        task="multiclass", positive=None,
    )  # fmt: skip
    text = card(run)
    assert re.findall("^## (.+)$", text, flags=re.MULTILINE) == SECTIONS
    assert section(text, "Model details").split(ASK)[0].strip() == "- Task: multiclass: 100 classes"
    assert "No groups of patients were told apart" in text
    head = yaml.safe_load(text.split("---")[1])
    assert "model-index" not in head
    assert head["metrics"] == []
    for absent in ("The command", "recalibrated", "95 % intervals:", "same source", "None"):
        assert absent not in text


def test_other_settings(tmp_path: Path) -> None:
    changes = {
        "model.pretrained": True, "pseudonymise": True, "dataset.size": [16, 32, 32],
        "dataset.spatial_dims": 3,
    }  # fmt: skip
    run = write_run(tmp_path / "run", config=changes)
    change(run, "environment.json", gpus=["A100"], time=None)
    (run / "metrics.csv").write_text("epoch,val/loss\n1,0.5\n")
    text = card(run)
    assert "Start of the training: published weights" in text
    assert "Input: 16 × 32 × 32 pixels in 3 dimensions" in text
    assert "- Epochs: 1\n" in text
    assert "minutes on A100" in text
    assert "Date:" not in text
    assert "were pseudonymised" in section(text, "Ethical considerations")


def test_an_evaluation_on_other_data(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "config.yaml").write_text(f"checkpoint: {HOME}/best.ckpt\ndataset: null\n")
    text = card(run)
    assert "same source" not in text
    assert "# Model card: classifier on breastmnist" in text
    assert "The other splits" not in text


def test_an_edited_card_is_kept(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    first = write_model_card(run)
    assert not edited(first)
    before = first.read_text()
    change(run, "evaluation.json", notes=["Another one."])
    assert write_model_card(run) == first
    assert "Another one." in first.read_text() != before
    own = first.read_text().replace(f"{ASK} the licence", "Apache-2.0; the licence")
    first.write_text(own)
    assert edited(first)
    second = write_model_card(run)
    assert second == run / "MODEL_CARD_new.md"
    assert first.read_text() == own
    first.write_text("My own card.\n")
    assert write_model_card(run) == second
    assert first.read_text() == "My own card.\n"


def test_a_patient_in_two_splits(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    table = (run / "samples.csv").read_text()
    (run / "samples.csv").write_text(table.replace("7 (train)", "7"))
    assert "- 6 patients in more than one split" in section(card(run), SECTIONS[-1])


def test_names_are_harmless(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    content = json.loads((run / "evaluation.json").read_text())
    content["class_names"] = ["<script>", "a|b\n# c"]
    content["notes"] = ["*bold* ![x](y)"]
    write_json(run / "evaluation.json", content)
    text = card(run)
    assert "<script" not in re.sub(r"\\<", "", text)
    assert "a\\|b # c" in text
    assert "\\*bold\\* !\\[x\\](y)" in text
    assert markdown("layer_norm _x_ `a`") == "layer_norm \\_x\\_ \\`a\\`"
