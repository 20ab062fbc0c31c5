"""Run directories as a training leaves them, of made-up predictions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image, PngImagePlugin
from scipy.ndimage import gaussian_filter
from sklearn.metrics import precision_recall_curve, roc_curve

from medcnn.evaluation import evaluate
from medcnn.evaluation.analysis import Settings, analyse
from medcnn.evaluation.predictions import Predictions
from medcnn.evidence.layers import item_record, write_pictures
from medcnn.report.maps.item import GalleryItem

CLASSES = {
    "binary": ["benign", "malignant"],
    "multiclass": ["normal", "nodule", "effusion"],
    "ordinal": ["grade 0", "grade 1", "grade 2"],
    "multilabel": ["mass", "oedema"],
    "regression": ["age"],
}
PERSON = "Erika Mustermann"  # a name that no page may show
HOME = "/home/erika/Bilder"
CONFIG: dict[str, Any] = {
    "seed": 0,
    "batch_size": 32,
    "normalise": "zscore",
    "pseudonymise": False,
    "dataset": {"name": "breastmnist", "size": 28, "spatial_dims": 2, "root": HOME},
    "splits": {"method": "patient", "seed": 0},
    "model": {"name": "resnet", "depth": 18, "width": 0.125, "pretrained": False},
    "transfer": {"mode": "scratch"},
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.001, "weight_decay": 0.02},
    "scheduler": {"_target_": "medcnn.training.schedulers.onecycle"},
    "trainer": {"max_epochs": 8},
    "paths": {"data": HOME, "run": f"{HOME}/runs"},
    "logger": {"wandb": {"entity": PERSON}},
}
POINT = {
    "rule": "youden", "chosen_on": "val", "threshold": 0.31, "sensitivity": 0.9,
    "specificity": 0.8,
}  # fmt: skip


def write_run(
    folder: Path,
    task: str = "binary",
    *,
    seed: int = 0,
    quality: float = 2.0,
    patients: int = 60,
    images: int = 1,
    config: dict[str, Any] | None = None,
    overrides: tuple[str, ...] = (),
    score: float | None = 0.9,
    evaluation: dict[str, Any] | None = None,
    maps: int = 0,
) -> Path:
    """Write a finished run.

    Args:
        folder: Its directory.
        task: One of `CLASSES`; the truth is the same for all seeds.
        seed: Of the predictions.
        quality: How well they follow the truth; 0 not at all.
        patients: In the test split.
        images: Of each patient.
        config: Changes of `CONFIG`, dotted keys.
        overrides: For status.json.
        score: The best validation score.
        evaluation: Changes of evaluation.json.
        maps: Images with a map.
    """
    folder.mkdir(parents=True)
    write_facts(folder, config or {}, overrides, score)
    table, *arrays = predictions(task, seed, quality, patients, images)
    table.to_csv(folder / "predictions.csv", index=False)
    write_samples(folder, table)
    write_history(folder, task, seed, quality)
    write_json(
        folder / "evaluation.json", {**analysed(task, patients, *arrays), **(evaluation or {})}
    )
    problem = {
        "severity": "warning", "kind": "near-duplicate images in two splits",
        "image": f"{HOME}/1.png", "split": "train", "other_split": "test", "reason": PERSON,
    }  # fmt: skip
    pd.DataFrame([problem, problem]).to_csv(folder / "problems.csv", index=False)
    if maps:
        make_maps(folder / "cams", maps)
    return folder


def write_facts(
    folder: Path, changes: dict[str, Any], overrides: tuple[str, ...], score: float | None
) -> None:
    """config.yaml, status.json and environment.json."""
    settings = json.loads(json.dumps(CONFIG))
    for key, value in changes.items():
        node = settings
        *parents, last = key.split(".")
        for parent in parents:
            node = node[parent]
        node[last] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    write_json(folder / "status.json", {
        "state": "finished", "host": "erikas-pc", "seconds": 61.5, "best": score,
        "overrides": [*overrides, f"paths.run={HOME}/runs"],
    })  # fmt: skip
    write_json(folder / "environment.json", {
        "command": ["python", f"{HOME}/medcnn/train.py", *overrides],
        "time": "2026-11-28T19:01:01+0000", "python": "3.11.7", "platform": "Linux",
        "libraries": {"medcnn": "0.1.0", "torch": "2.6.0"}, "gpus": [], "precision": "32-true",
    })  # fmt: skip


def analysed(task: str, patients: int, probs: Any, labels: Any, decisions: Any) -> dict[str, Any]:
    """What evaluation.json says, in short."""
    binary = task == "binary"
    positive = 1 if binary else None
    level = {
        "n": len(labels),
        "patients": patients,
        "counts": counts(task, labels),
        "figures": figures(task, probs, labels, decisions, positive),
        "curves": curves(task, probs, labels, positive),
        "clinic": {"threshold": 0.31, "figures": clinic()} if binary else None,
        "subgroups": subgroups() if binary else [],
    }
    return {
        "format": 1, "task": task, "class_names": CLASSES[task], "positive": positive,
        "data": "breastmnist", "split": "test", "level_names": ["image"],
        "operating_point": POINT if binary else None,
        "temperature": 1.21, "calibration_applied": "temperature",
        "intervals": {"auroc": "DeLong, logit scale", "*": "bootstrap over patients"},
        "notes": ["The smallest class has 12 samples."], "levels": {"image": level},
    }  # fmt: skip


def whole_evaluation(
    task: str = "binary", count: int | None = None, n: int = 312, **facts: Any
) -> dict[str, Any]:
    """All that evaluation.json says: of two classes also of patients, with two images each.

    Args:
        task: One of `CLASSES`.
        count: Of classes, named ``class 0`` …; None for those of `CLASSES`.
        n: Images.
        facts: Changes of evaluation.json.
    """
    names = CLASSES[task] if count is None else [f"class {k}" for k in range(count)]
    table = predictions(task, 3, 1.5, n, 1, names)[0].assign(row=np.arange(n))
    if task == "binary":
        table = table.sort_values("label", ignore_index=True)  # so that patients have one label
        table["patient"] = table.index // 2
        table["age"] = np.tile([30, 30, 50, 50, 70, 70], n // 6)
        table["site"] = np.where(table.index < 8, "C", np.tile(["A", "A", "B", "B"], n // 4))
        old = table["age"] == 70  # in whom the classifier is wrong
        table.loc[old, ["prob:benign", "prob:malignant"]] = table.loc[
            old, ["prob:malignant", "prob:benign"]
        ].to_numpy()
    positive = 1 if task == "binary" else None
    found = Predictions.of(table, task=task, class_names=names, positive=positive)  # type: ignore[arg-type]
    settings = Settings(operating_point=POINT if task == "binary" else None, resamples=50)
    more = {"split": "test", "temperature": 1.21, "calibration_applied": "temperature"}
    return {**analyse({"image": found}, settings, {"data": "breast ultrasound", **more}), **facts}


def predictions(
    task: str,
    seed: int,
    quality: float,
    patients: int,
    images: int,
    names: list[str] | None = None,
) -> tuple[pd.DataFrame, Any, Any, Any]:
    """The table of predictions.csv, and its arrays."""
    n, names = patients * images, names or CLASSES[task]
    truth, noise = np.random.default_rng(7), np.random.default_rng(100 + seed)
    table = pd.DataFrame(
        {"row": 500 + np.arange(n), "image": [f"{HOME}/{k}.png" for k in range(n)],
         "patient": [f"{PERSON} {k // images}" for k in range(n)], "split": "test"}
    )  # fmt: skip
    if task == "regression":
        labels = truth.normal(50, 15, (n, 1))
        probs = labels + noise.normal(0, 20 / (1 + quality), (n, 1))
        return table.assign(label=labels, prediction=probs), probs, labels, probs
    if task == "multilabel":
        labels = truth.integers(0, 2, (n, len(names)))
        probs = 1 / (1 + np.exp(-(quality * (labels - 0.5) + noise.normal(0, 1, labels.shape))))
        decisions = (probs >= 0.5).astype(int)
        for kind, values in (("label", labels), ("prob", probs), ("decision", decisions)):
            table[[f"{kind}:{name}" for name in names]] = values
        return table, probs, labels, decisions
    labels = truth.permutation(np.arange(n) % len(names))
    logits = quality * np.eye(len(names))[labels] + noise.normal(0, 1, (n, len(names)))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    decisions = probs.argmax(1)
    table["label"] = [names[k] for k in labels]
    table = table.join(pd.DataFrame(probs, columns=[f"prob:{name}" for name in names]))
    return table.assign(decision=[names[k] for k in decisions]), probs, labels, decisions


def figures(task: str, probs: Any, labels: Any, decisions: Any, positive: Any) -> dict[str, Any]:
    """Right values with made-up intervals."""
    names = CLASSES[task]
    found = evaluate(
        probs, labels, decisions, task=task, class_names=names, positive=positive  # type: ignore[arg-type]
    )  # fmt: skip
    for figure in found.values():
        if figure["value"] is not None:
            figure["low"], figure["high"] = figure["value"] - 0.05, min(figure["value"] + 0.05, 1.0)
    return dict(found)


def clinic() -> dict[str, Any]:
    """Figures at the operating point; one of them undefined."""
    figure = {"value": 0.8, "low": 0.7, "high": 0.88, "n": 30}
    none = {"value": None, "low": None, "high": None, "n": 0}
    return {"sensitivity": figure, "specificity": figure, "lr_negative": none}


def subgroups() -> list[dict[str, Any]]:
    """One that is shown, and one that is too small."""
    figure = {"value": 0.83, "low": 0.71, "high": 0.9, "n": 33}
    shown = {"column": "sex", "group": "F", "n": 33, "shown": True, "figures": {"auroc": figure}}
    small = {"column": "sex", "group": "M", "n": 3, "shown": False, "figures": {}}
    return [{**shown, "difference": {"auroc": figure}}, {**small, "difference": {}}]


def counts(task: str, labels: Any) -> dict[str, int]:
    """Samples of each class."""
    names = CLASSES[task]
    if task == "regression":
        return {names[0]: len(labels)}
    sums = labels.sum(0) if task == "multilabel" else np.bincount(labels, minlength=len(names))
    return dict(zip(names, sums.tolist(), strict=True))


def curves(task: str, probs: Any, labels: Any, positive: int | None) -> dict[str, Any]:
    """ROC and precision-recall curves, of the positive class or of each."""
    if task == "regression":
        return {}
    found = {}
    for k, name in enumerate(CLASSES[task]):
        if positive not in (None, k):
            continue
        truth = labels[:, k] if task == "multilabel" else labels == k
        fpr, sensitivity, _ = roc_curve(truth, probs[:, k])
        precision, recall, _ = precision_recall_curve(truth, probs[:, k])
        found[name] = {
            "roc": {"fpr": fpr.tolist(), "sensitivity": sensitivity.tolist()},
            "pr": {"recall": recall[::-1].tolist(), "precision": precision[::-1].tolist()},
        }
    return found


def write_samples(folder: Path, tested: pd.DataFrame) -> None:
    """The sample table: what was tested, and as much again to train on."""
    train = tested.assign(
        split="train", patient=tested["patient"] + " (train)", row=np.arange(len(tested))
    )
    columns = [c for c in tested if c.split(":")[0] not in ("prob", "prediction", "decision")]
    table = pd.concat([train, tested])[columns]
    if "label" in table and table["label"].dtype == object:  # indices, as in a real run
        table["label"] = table["label"].map(
            {n: k for k, n in enumerate(sorted(set(table["label"])))}
        )
    table.assign(sex="F", site="A", age=20 + np.arange(len(table)) % 60).to_csv(
        folder / "samples.csv", index=False
    )


def write_history(folder: Path, task: str, seed: int, quality: float) -> None:
    """Eight epochs."""
    epoch = np.arange(1, 9)
    noise = np.random.default_rng(seed).normal(0, 0.02, (3, 8))
    loss = np.exp(-epoch * quality / 8)
    score = "val/r2" if task == "regression" else "val/auroc"
    pd.DataFrame(
        {"epoch": epoch, "train/loss": loss + noise[0], "val/loss": loss + 0.1 + noise[1],
         score: 1 - 0.5 * loss + noise[2], "val/score": 1 - 0.5 * loss + noise[2]}
    ).to_csv(folder / "metrics.csv", index=False)  # fmt: skip


def make_maps(cams: Path, count: int, size: int = 96) -> None:
    """Ultrasound-like pictures with a dark lesion, and a map near it; two are errors."""
    (cams / "layers").mkdir(parents=True)
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:size, :size] / size
    note = PngImagePlugin.PngInfo()
    note.add_text("Patient", PERSON)
    records = []
    for k in range(count):
        centre = rng.uniform(0.3, 0.7, 2)
        radius = rng.uniform(0.09, 0.17)
        lesion = ((y - centre[0]) / 0.75) ** 2 + (x - centre[1]) ** 2 < radius**2
        speckle = gaussian_filter(rng.gamma(2, 0.22, (size, size)), 0.8)
        image = np.clip(
            speckle * (1.15 - 0.6 * y) - 0.45 * gaussian_filter(lesion * 1.0, 1.5), 0, 1
        )
        away = centre + rng.normal(0, 0.06, 2)
        map_ = np.exp(-(((y - away[0]) ** 2 + (x - away[1]) ** 2) / (2 * (1.1 * radius) ** 2)))
        map_ = np.clip(map_ + 0.25 * gaussian_filter(rng.random((size, size)), size / 10), 0, None)
        map_ = map_ - map_.min()
        pictures = {"": image, "-map": map_ / map_.max(), "-mask": lesion * 1.0}
        for end, values in pictures.items():
            picture = Image.fromarray((255 * values).round().astype(np.uint8))
            picture.save(cams / "layers" / f"{k}{end}.png", pnginfo=note)
        wrong, ill = k % 5 == 4, k % 3 != 2
        true = "malignant" if ill else "benign"
        records.append(
            {
                "row": 10 + k,
                "image": f"layers/{k}.png",
                "map": f"layers/{k}-map.png",
                "mask": f"layers/{k}-mask.png" if ill else None,
                "true": true,
                "predicted": true if not wrong else ("benign" if ill else "malignant"),
                "probability": round(float(rng.uniform(0.55, 0.99)), 3),
                "correct": not wrong,
                "kind": "error" if wrong else "sample",
                "method": "gradcam",
                "empty": k == 7,
            }
        )
    write_json(cams / "layers.json", records)


def add_volume_and_colour(cams: Path) -> None:
    """A volume of 6 mm slices, each in a grey of its own, with a map on slice 5; a red picture."""
    values, map_ = np.zeros((10, 40, 30)), np.zeros((10, 40, 30))
    values += np.arange(10)[:, None, None] / 10
    map_[4, 20, 15] = 1.0
    words = {"true": "benign", "predicted": "benign", "probability": 0.7, "correct": True}
    volume = GalleryItem(values, map_, map_ > 0, spacing=(6, 1, 1), orientation="SPL", **words)
    red = GalleryItem(np.tile([0.8, 0.1, 0.1], (30, 30, 1)), map_[4, :30], None, **words)
    records = json.loads((cams / "layers.json").read_text())
    for row, item in ((90, volume), (91, red)):
        facts = {"row": row, "kind": "sample", "method": "gradcam", "empty": False}
        records.append(
            facts | write_pictures(item, cams, str(row)) | {"name": f"row {row} · x"} | words
        )
    write_json(cams / "layers.json", records)


def add_label_issues(run: Path) -> None:
    """Two labels that may be wrong: row 14 with two maps, row 11 without a picture."""
    rows = {"row": [14, 11], "fold": 0, "label": "benign", "suggested": "malignant"}
    pd.DataFrame({**rows, "score": [0.01, 0.2]}).to_csv(run / "label_issues.csv", index=False)
    map_ = np.eye(40)[::-1] * np.arange(40)
    words = {"true": "benign", "predicted": "malignant", "probability": None, "correct": None}
    item = GalleryItem(np.full((40, 40), 0.5), map_, None, **words)
    facts = {"row": 14, "kind": "label", "issue": 0, "method": "gradcam", "empty": False}
    layers = run / "cams" / "layers.json"
    records = json.loads(layers.read_text()) if layers.exists() else []
    for name, stem in (("malignant", "label-1"), ("benign", "label-1-as-labelled")):
        records.append(item_record(item, run / "cams", stem, facts | {"explained": name}))
    write_json(layers, records)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(content, default=float))
