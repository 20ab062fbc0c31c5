"""Run directories of every task, made by numpy and scikit-learn, to write pages of."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from scipy.ndimage import gaussian_filter
from sklearn import metrics

from medcnn.evidence.layers import write_pictures
from medcnn.report.maps.item import GalleryItem

Json = dict[str, Any]
SECRET = "Mustermann"  # a name that no page may show
HOME = f"/home/{SECRET}"


def figure(value: float, n: int, spread: float | None = 0.04) -> Json:
    """Bounds that stay below one where the value does."""
    if spread is None:
        return {"value": value, "low": None, "high": None, "n": n}
    high = value + spread if value > 1 else min(value + spread, 0.5 + value / 2)
    return {"value": value, "low": value - spread, "high": high, "n": n}


def curves(truth: NDArray[Any], probs: NDArray[Any]) -> Json:
    fpr, sensitivity, _ = metrics.roc_curve(truth, probs, drop_intermediate=False)
    precision, recall, _ = metrics.precision_recall_curve(truth, probs)
    grid = np.linspace(0, 1, 51)
    middle = np.interp(grid, fpr, sensitivity)
    band = {"fpr": grid, "low": np.clip(middle - 0.07, 0, 1), "high": np.clip(middle + 0.06, 0, 1)}
    return {
        "roc": {"fpr": fpr.tolist(), "sensitivity": sensitivity.tolist()},
        "band": {key: values.tolist() for key, values in band.items()},
        "pr": {"recall": recall.tolist(), "precision": precision.tolist()},
    }


def reliability(truth: NDArray[Any], probs: NDArray[Any]) -> Json:
    edges = np.linspace(0, 1, 9)
    which = np.clip(np.digitize(probs, edges) - 1, 0, 7)
    count = np.bincount(which, minlength=8)
    safe = np.maximum(count, 1)
    share = np.bincount(which, truth, 8) / safe
    score = np.bincount(which, probs, 8) / safe
    wide = 1.96 * np.sqrt(np.maximum(share * (1 - share), 0.01) / safe)
    columns = {"score": score, "share": share, "low": share - wide, "high": share + wide}
    known = {
        name: [float(v) if c else None for v, c in zip(values.clip(0, 1), count, strict=True)]
        for name, values in columns.items()
    }
    return {**known, "count": count.tolist()}


def decision(truth: NDArray[Any], probs: NDArray[Any]) -> Json:
    at = np.linspace(0.01, 0.99, 50)
    odds, calls, prevalence = at / (1 - at), probs >= at[:, None], truth.mean()
    model = (calls & truth).mean(1) - (calls & ~truth).mean(1) * odds
    every = prevalence - (1 - prevalence) * odds
    return {
        "threshold": at.tolist(),
        "model": model.tolist(),
        "all": every.tolist(),
        "none": [0.0] * 50,
    }


def selective(right: NDArray[Any], sure: NDArray[Any]) -> Json:
    wrong = ~right[np.argsort(-sure)]
    risk = wrong.cumsum() / np.arange(1, len(wrong) + 1)
    coverage = np.arange(1, len(wrong) + 1) / len(wrong)
    return {"coverage": coverage.tolist(), "risk": risk.tolist(), "aurc": float(risk.mean())}


def binary_level(n: int, patients: int, seed: int, names: tuple[str, str]) -> Json:
    """Half the truth of `seed`; the threshold is 0.31."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.27
    logits = rng.normal(np.where(truth, 1.1, -2.0), 1.3)
    probs = 1 / (1 + np.exp(-logits))
    calls = probs >= 0.31
    tn, fp, fn, tp = metrics.confusion_matrix(truth, calls).ravel().tolist()
    sens, spec = tp / (tp + fn), tn / (tn + fp)
    clinic = {
        "sensitivity": figure(sens, tp + fn, 0.09),
        "specificity": figure(spec, tn + fp, 0.06),
        "ppv": figure(tp / (tp + fp), tp + fp, 0.1),
        "npv": figure(tn / (tn + fn), tn + fn, 0.05),
        "lr_positive": figure(sens / (1 - spec), n, 2.5),
        "lr_negative": figure((1 - sens) / spec, n, 0.08),
        "accuracy": figure(float((calls == truth).mean()), n, 0.05),
        "f1": figure(float(metrics.f1_score(truth, calls)), n, 0.06),
        "mcc": figure(float(metrics.matthews_corrcoef(truth, calls)), n, 0.08),
        "prevalence": figure(float(truth.mean()), n, 0.06),
    }
    auroc = float(metrics.roc_auc_score(truth, probs))
    figures = {
        "auroc": figure(auroc, n, 0.035),
        "average_precision": figure(float(metrics.average_precision_score(truth, probs)), n, 0.07),
        "accuracy": clinic["accuracy"],
        "balanced_accuracy": figure((sens + spec) / 2, n, 0.05),
        "f1": clinic["f1"],
        "mcc": clinic["mcc"],
        "sensitivity": clinic["sensitivity"],
        "specificity": clinic["specificity"],
        "log_loss": figure(float(metrics.log_loss(truth, probs)), n, 0.06),
        "brier": figure(float(metrics.brier_score_loss(truth, probs)), n, 0.02),
        "ece": {"value": 0.046, "low": 0.031, "high": 0.079, "n": n},
        f"sensitivity/{names[0]}": figure(spec, tn + fp, 0.06),
        f"sensitivity/{names[1]}": figure(sens, tp + fn, 0.09),
    }
    order = np.argsort(-np.where(calls != truth, np.abs(probs - 0.31), 0))[:8]
    errors = [
        {
            "row": int(k),
            "image": f"{HOME}/{k}.png",
            "true": names[int(truth[k])],
            "predicted": names[int(calls[k])],
            "confidence": float(max(probs[k], 1 - probs[k])),
        }
        for k in order
    ]
    return {
        "n": n,
        "patients": patients,
        "counts": {names[0]: int((~truth).sum()), names[1]: int(truth.sum())},
        "figures": figures,
        "clinic": {"threshold": 0.31, "figures": clinic},
        "confusion": {"names": list(names), "counts": [[tn, fp], [fn, tp]]},
        "curves": {names[1]: curves(truth, probs)},
        "reliability": {names[1]: reliability(truth, probs)},
        "decision_curve": {names[1]: decision(truth, probs)},
        "subgroups": subgroups(auroc, sens, n),
        "selective": selective(calls == truth, np.abs(probs - 0.31)),
        "errors": errors,
    }


def subgroups(auroc: float, sens: float, n: int) -> list[Json]:
    rows = [
        ("sex", "F", 0.55, 0.01),
        ("sex", "M", 0.45, -0.012),
        ("age", "below 50", 0.3, 0.025),
        ("age", "50 to 64", 0.4, 0.004),
        ("age", "65 and above", 0.3, -0.11),
        ("site", "A", 0.6, 0.006),
        ("site", "B", 0.37, -0.01),
    ]
    found: list[Json] = [
        {
            "column": column,
            "group": group,
            "n": int(n * share),
            "shown": True,
            "figures": {
                "auroc": figure(auroc + shift, int(n * share), 0.045),
                "sensitivity": figure(sens + shift, int(n * share * 0.27), 0.1),
            },
            "difference": {"auroc": figure(1.8 * shift, n, 0.08)},
        }
        for column, group, share, shift in rows
    ]
    few = {"column": "site", "group": "C", "n": 4, "shown": False, "figures": {}, "difference": {}}
    return [*found, few]


def binary() -> Json:
    names = ("benign", "malignant")
    return {
        "format": 1,
        "task": "binary",
        "class_names": list(names),
        "positive": 1,
        "data": "breast ultrasound",
        "split": "test",
        "level_names": ["image", "patient"],
        "operating_point": {
            "rule": "youden",
            "chosen_on": "val",
            "threshold": 0.31,
            "sensitivity": 0.88,
            "specificity": 0.9,
        },
        "temperature": 1.21,
        "calibration_applied": "temperature",
        "intervals": {
            "auroc": "DeLong, logit scale",
            "*": "bootstrap over patients, 2,000 resamples",
        },
        "notes": ["Site C has 4 images only: its figures aren't shown."],
        "levels": {
            "image": binary_level(312, 156, 3, names),
            "patient": binary_level(156, 156, 5, names),
        },
    }


def classes(task: str, count: int, n: int = 600) -> Json:
    """Multi-class or ordinal."""
    rng = np.random.default_rng(count)
    names = [f"grade {k}" if task == "ordinal" else f"class {k}" for k in range(count)]
    truth = np.concatenate([np.arange(count), rng.integers(0, count, n - count)])
    logits = rng.normal(0, 1, (n, count))
    logits[np.arange(n), truth] += 2.5
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    calls, there = probs.argmax(1), truth[:, None] == np.arange(count)
    areas = [float(metrics.roc_auc_score(there[:, k], probs[:, k])) for k in range(count)]
    matrix = metrics.confusion_matrix(truth, calls, labels=range(count))
    each = list(enumerate(names))
    rates = (matrix.diagonal() / matrix.sum(1)).tolist()
    figures = {
        "auroc": figure(float(np.mean(areas)), n),
        "accuracy": figure(float((calls == truth).mean()), n),
        "balanced_accuracy": figure(float(np.mean(rates)), n),
        "ece": figure(0.05, n, 0.02),
        "kappa": figure(float(metrics.cohen_kappa_score(truth, calls)), n),
        "mcc": figure(0.5, n, None),
        **{f"auroc/{name}": figure(area, n) for name, area in zip(names, areas, strict=True)},
        **{f"sensitivity/{name}": figure(rate, n) for name, rate in zip(names, rates, strict=True)},
    }
    level = {
        "n": n,
        "patients": n,
        "counts": dict(zip(names, matrix.sum(1).tolist(), strict=True)),
        "figures": figures,
        "clinic": None,
        "confusion": {"names": names, "counts": matrix.tolist()},
        "curves": {name: curves(there[:, k], probs[:, k]) for k, name in each},
        "reliability": {name: reliability(there[:, k], probs[:, k]) for k, name in each},
        "decision_curve": {name: decision(there[:, k], probs[:, k]) for k, name in each},
        "selective": selective(calls == truth, probs.max(1)),
        "subgroups": [],
        "errors": [],
    }
    return {
        "format": 1,
        "task": task,
        "class_names": names,
        "positive": None,
        "data": "cells",
        "split": "test",
        "level_names": ["image"],
        "operating_point": None,
        "temperature": 0.8,
        "calibration_applied": "none",
        "intervals": {"*": "bootstrap over patients"},
        "notes": [],
        "levels": {"image": level},
    }


def multilabel() -> Json:
    content = classes("multiclass", 3)
    level, names = content["levels"]["image"], content["class_names"]
    calls = {name: [[400, 60], [30, 110 + k]] for k, name in enumerate(names)}
    level["confusion"] = {"per_label": calls}
    return {**content, "task": "multilabel"}


def regression() -> Json:
    rng = np.random.default_rng(2)
    truth = rng.uniform(2, 17, 180)
    prediction = truth + rng.normal(0.2, 1.1, 180)
    gap = prediction - truth
    figures = {
        "mae": figure(float(np.abs(gap).mean()), 180, 0.1),
        "r2": figure(float(metrics.r2_score(truth, prediction)), 180, 0.03),
        "rmse": figure(float(np.sqrt((gap**2).mean())), 180, 0.1),
        "bias": figure(float(gap.mean()), 180, 0.15),
        "limit_low": figure(float(gap.mean() - 1.96 * gap.std(ddof=1)), 180, 0.25),
        "limit_high": figure(float(gap.mean() + 1.96 * gap.std(ddof=1)), 180, 0.25),
    }
    level = {
        "n": 180,
        "patients": 180,
        "figures": figures,
        "scatter": {"truth": truth.tolist(), "prediction": prediction.tolist()},
    }
    return {
        "format": 1,
        "task": "regression",
        "class_names": ["bone age"],
        "positive": None,
        "data": "hands",
        "split": "test",
        "level_names": ["image"],
        "operating_point": None,
        "intervals": {"*": "bootstrap over patients"},
        "notes": [],
        "levels": {"image": level},
    }


def make_run(folder: Path, evaluation: Json, maps: int = 0, size: int = 96) -> Path:
    """A whole run directory; files name a person and a place, which no page may show."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "evaluation.json", evaluation)
    samples_table(evaluation).to_csv(folder / "samples.csv", index_label="row")
    epochs = np.arange(1, 31)
    falling = 0.65 * np.exp(-epochs / 8)
    score = 0.93 - 0.35 * np.exp(-epochs / 6) - 0.002 * np.maximum(epochs - 20, 0)
    pd.DataFrame(
        {
            "epoch": epochs,
            "train/loss": falling + 0.08,
            "val/auroc": score,
            "val/score": score,
            "val/loss": falling + 0.2 + 0.004 * np.maximum(epochs - 15, 0),
        }
    ).to_csv(folder / "metrics.csv", index=False)
    near = "near-duplicate images in two splits"
    problems = [
        ["warning", near, f"{HOME}/{k}.png", "test", f"{HOME}/{k + 9}.png", "train", SECRET]
        for k in range(3)
    ]
    columns = ["severity", "kind", "image", "split", "other_image", "other_split", "reason"]
    pd.DataFrame(problems, columns=columns).to_csv(folder / "problems.csv", index=False)
    write(
        folder / "environment.json",
        {
            "command": [
                f"{HOME}/venv/bin/python",
                f"{HOME}/medcnn/train.py",
                "dataset=csv",
                f"dataset.csv={HOME}/list.csv",
                "model=resnet",
                f"paths.run='{folder}'",
            ],
            "time": "2026-11-28T19:01:03+0000",
            "python": "3.11.7",
            "platform": "Linux-6.1-x86_64",
            "libraries": {"medcnn": "0.1.0", "torch": "2.14.1"},
            "gpus": [],
            "cpu": {"count": 2, "capability": "AVX2"},
            "torch_threads": 1,
            "precision": "32-true",
        },
    )
    write(folder / "status.json", {"state": "finished", "host": SECRET, "seconds": 642.0})
    (folder / "config.yaml").write_text(
        f"seed: 7\ndataset:\n  csv: {HOME}/list.csv\n  name: breast ultrasound\nmodel:\n"
        f"  _target_: medcnn.nets.build\n  name: resnet\n  depth: 18\npaths:\n  run: {folder}\n"
        f"logger:\n  wandb:\n    entity: {SECRET}\n",
        encoding="utf-8",
    )
    if maps:
        make_maps(folder / "cams", maps, size)
    return folder


def samples_table(evaluation: Json) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    patients = 400
    splits = rng.choice(["train", "val", "test"], patients, p=[0.5, 0.12, 0.38])
    table = pd.DataFrame(
        {
            "image": [f"{HOME}/film-{k}.png" for k in range(2 * patients)],
            "patient": np.repeat([f"{SECRET}-{k}" for k in range(patients)], 2),
            "split": np.repeat(splits, 2),
            "sex": np.repeat(rng.choice(["F", "M"], patients), 2),
            "age": np.repeat(rng.normal(57, 12, patients).round(), 2),
            "site": np.repeat(rng.choice(["A", "B", "C"], patients, p=[0.6, 0.37, 0.03]), 2),
        }
    )
    names = evaluation["class_names"]
    if evaluation["task"] == "multilabel":
        for name in names:
            table[f"label:{name}"] = rng.integers(0, 2, len(table))
    elif evaluation["task"] == "regression":
        table["label"] = rng.uniform(2, 17, len(table))
    else:
        table["label"] = rng.choice(len(names), len(table))
    return table


def make_maps(cams: Path, count: int, size: int) -> None:
    """Ultrasound-like pictures with a dark lesion, and a map near it; two are errors."""
    (cams / "layers").mkdir(parents=True)
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:size, :size] / size
    note = PngImagePlugin.PngInfo()
    note.add_text("Patient", SECRET)
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
    write(cams / "layers.json", records)


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
        records.append(facts | write_pictures(item, cams, row) | {"name": f"row {row} · x"} | words)
    write(cams / "layers.json", records)


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
