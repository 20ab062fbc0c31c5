"""Run directories written by hand: what a training leaves, with made-up predictions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from sklearn.metrics import precision_recall_curve, roc_curve

from medcnn.evaluation import evaluate

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
}


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
        "image": f"{HOME}/1.png", "split": "train", "other_split": "test",
    }  # fmt: skip
    pd.DataFrame([problem, problem]).to_csv(folder / "problems.csv", index=False)
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
    """What evaluation.json says."""
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
    point = {
        "rule": "youden", "chosen_on": "val", "threshold": 0.31, "sensitivity": 0.9,
        "specificity": 0.8,
    }  # fmt: skip
    return {
        "format": 1, "task": task, "class_names": CLASSES[task], "positive": positive,
        "data": "breastmnist", "split": "test", "level_names": ["image"],
        "operating_point": point if binary else None,
        "temperature": 1.21, "calibration_applied": "temperature",
        "intervals": {"auroc": "DeLong, logit scale", "*": "bootstrap over patients"},
        "notes": ["The smallest class has 12 samples."], "levels": {"image": level},
    }  # fmt: skip


def predictions(
    task: str, seed: int, quality: float, patients: int, images: int
) -> tuple[pd.DataFrame, Any, Any, Any]:
    """The table of predictions.csv, and its arrays."""
    n, names = patients * images, CLASSES[task]
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
    table[[f"prob:{name}" for name in names]] = probs
    table["decision"] = [names[k] for k in decisions]
    return table, probs, labels, decisions


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
    table.assign(sex="F", site="A").to_csv(folder / "samples.csv", index=False)


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


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(content, default=float))
