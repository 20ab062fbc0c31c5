"""``python -m medcnn.explain``: the class activation maps of a split, and whether they hit."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from medcnn import cam, cli
from medcnn.assemble import check_fits
from medcnn.checkpoint import load
from medcnn.classifier import Classifier
from medcnn.data.batches import unit_intensity
from medcnn.data.samples import Samples
from medcnn.datasets import data_config, open_data
from medcnn.errors import UserError, check_whole_number
from medcnn.evaluation import bootstrap_mean
from medcnn.files import replacing, write_json
from medcnn.objective import Objective, known
from medcnn.report import GalleryItem, gallery
from medcnn.trainer import autocast, device_of


def main(cfg: DictConfig, trust: list[str]) -> dict[str, Any]:
    """Make the gallery and the scores that conf/explain.yaml describes."""
    checkpoint = Path(cfg.checkpoint)
    classifier = load(checkpoint, trust=trust).to(device_of(cfg.accelerator))
    settings = data_config(classifier.card["config"], cfg)
    samples = open_data(settings, trust, card=classifier.card, checked=False).samples
    check_fits(classifier, samples)
    folder = f"{samples.name}-{cfg.split}-{cfg.method}"
    output = Path(cfg.output or checkpoint.resolve().parent.parent / "cams" / folder)
    options = {key: cfg[key] for key in ("split", "method", "stage", "n", "batch_size")}
    scores = explain_split(classifier, samples, output, **options)
    for name, score in scores.items():
        print(f"{name} {interval(score)}, n = {score['n']}")
    print(f"gallery: {output / 'gallery.png'}", flush=True)
    return scores


def interval(figure: dict[str, Any]) -> str:
    """``0.731 [0.652, 0.803]``; without the brackets where there is no interval."""
    bounds = (figure["low"], figure["high"])
    shown = "" if None in bounds else " [{:.3f}, {:.3f}]".format(*bounds)
    return f"{figure['value']:.3f}{shown}"


def explain_split(
    classifier: Classifier,
    samples: Samples,
    folder: Path,
    *,
    split: str,
    method: str,
    n: int,
    stage: str = "last",
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Draw a gallery of `n` images of a split, keep their raw maps, and score maps by lesions.

    The gallery explains the decided class. The pointing game (Zhang et al. 2018) explains the true
    class of every image with a lesion mask, where that class is known: does the map's maximum lie
    on the lesion? It stands next to the same figure for the centre of the image, both with 95 %
    intervals from a bootstrap over patients. In regression both explain the prediction, of several
    targets that of the first.

    Returns:
        ``{"<split>/pointing_game": {"value", "low", "high", "n"}, …}``; empty without masks.

    Raises:
        UserError: A net without feature maps, an unknown method or stage, or an empty split.
    """
    check_whole_number("n", n, least=1)
    if batch_size is None:
        batch_size = classifier.card["config"]["batch_size"]
    check_whole_number("batch_size", batch_size, least=1)
    if not classifier.spatial:
        raise UserError("this net has no feature maps, so there is no class activation map of it")
    classifier.eval()
    folder.mkdir(parents=True, exist_ok=True)
    options = {"method": method, "stage": stage}
    rows = spread(samples, split, n)
    items = []
    for part in rows.split(batch_size):
        items += _gallery_items(classifier, samples, part, folder, options)
    regression = classifier.objective.task == "regression"
    what = f"the predicted {samples.class_names[0]}" if regression else "the decided class"
    title = f"{samples.name}, {split}: {method} of {what}"
    gallery(items, folder / "gallery.png", title=title)
    scores = _pointing_game(classifier, samples, split, batch_size, options)
    if scores:
        write_json(folder / "scores.json", scores)
    return scores


def check_explainable(classifier: Classifier, method: str, stage: str) -> None:
    """Raise UserError if there is no such map of this net: before it is trained, not after."""
    card = classifier.card
    blank = torch.zeros(1, card["in_channels"], *card["input_size"])
    classifier.eval()
    _maps(classifier, blank, torch.zeros(1, dtype=torch.long), {"method": method, "stage": stage})
    classifier.train()


def spread(samples: Samples, split: str, n: int) -> Tensor:
    """At most `n` rows of a split, evenly from its classes and evenly within each, in order.

    Unknown is a class here; in regression all rows are of one.
    """
    rows = samples.rows(split)
    labels = samples.labels[rows]
    if samples.task == "regression":
        labels = torch.zeros(len(rows))
    group = labels if labels.ndim == 1 else torch.where(known(labels).any(1), labels.argmax(1), -1)
    classes = group.unique().tolist()
    shares = [n // len(classes) + (k < n % len(classes)) for k in range(len(classes))]
    chosen = []
    for value, share in zip(classes, shares, strict=True):
        of_class = rows[group == value]
        at = np.linspace(0, len(of_class) - 1, min(share, len(of_class))).round().astype(int)
        chosen.append(of_class[torch.from_numpy(at)])
    return torch.cat(chosen)


def _maps(
    classifier: Classifier, images: Tensor, targets: Tensor, options: dict[str, str]
) -> Tensor:
    """Raw maps (N, *spatial) on the CPU, in the precision that the net was trained in."""
    with autocast(classifier):
        maps = cam.explain(
            classifier.net,  # type: ignore[arg-type]
            classifier.normalise(images),
            targets.to(images.device),
            objective=classifier.objective,
            **options,  # type: ignore[arg-type]
        )
    return maps.cpu()


def _images(classifier: Classifier, samples: Samples, rows: Tensor) -> Tensor:
    images = samples.images[rows].to(classifier.device)
    return unit_intensity(images, samples.ranges(rows))


def _gallery_items(
    classifier: Classifier,
    samples: Samples,
    rows: Tensor,
    folder: Path,
    options: dict[str, str],
) -> list[GalleryItem]:
    """The pictures of some rows; their raw maps are kept as ``<row>.npy``."""
    images = _images(classifier, samples, rows)
    with autocast(classifier):
        probs = classifier.classify(images).cpu()
    decided = _explained_class(classifier.objective, probs)
    maps = _maps(classifier, images, decided, options)
    labels = samples.labels[rows]
    masks = None if samples.masks is None else samples.masks[rows]
    items = []
    for k, row in enumerate(rows.tolist()):
        with replacing(folder / f"{row}.npy") as path:
            np.save(path, maps[k].numpy())
        items.append(
            GalleryItem(
                image=images[k].movedim(0, -1).squeeze(-1).cpu().numpy(),
                map=maps[k].numpy(),
                mask=None if masks is None else masks[k].numpy(),
                **_caption(samples, labels[k], probs[k], int(decided[k])),
            )
        )
    return items


def _explained_class(objective: Objective, probs: Tensor) -> Tensor:
    """The decided class (N,); of several labels the most probable, of several targets the first."""
    if objective.task == "regression":
        return torch.zeros(len(probs), dtype=torch.long)
    return probs.argmax(1) if objective.task == "multilabel" else objective.decide(probs)


def _caption(samples: Samples, label: Tensor, probs: Tensor, chosen: int) -> dict[str, Any]:
    """What a `GalleryItem` says of the truth and of what was decided."""
    if samples.task == "regression":
        true, predicted = label[chosen], f"{float(probs[chosen]):.4g}"
        shown = f"{float(true):.4g}" if known(true) else "unknown"
        return {"true": shown, "predicted": predicted, "probability": None, "correct": None}
    answer = label[chosen] == 1 if label.ndim else label == chosen
    there = known(label[chosen] if label.ndim else label)
    return {
        "true": _names(samples, label),
        "predicted": samples.class_names[chosen],
        "probability": float(probs[chosen]),
        "correct": bool(answer) if there else None,
    }


def _names(samples: Samples, label: Tensor) -> str:
    """The class, or of several labels those that are there."""
    if label.ndim == 0:
        return samples.class_names[int(label)] if known(label) else "unknown"
    found = [name for name, there in zip(samples.class_names, label, strict=True) if there == 1]
    return ", ".join(found) or ("none" if known(label).all() else "unknown")


def _pointing_game(
    classifier: Classifier,
    samples: Samples,
    split: str,
    batch_size: int,
    options: dict[str, str],
) -> dict[str, Any]:
    if samples.masks is None or samples.task == "multilabel":
        return {}
    rows = samples.rows(split)
    if samples.task == "regression":
        targets = torch.zeros(len(samples), dtype=torch.long)
    else:
        targets = samples.labels
        rows = rows[known(targets[rows])]
    if len(rows) == 0:
        return {}
    lesions = [samples.masks[part].flatten(1).any(1) for part in rows.split(batch_size)]
    rows = rows[torch.cat(lesions)]
    if len(rows) == 0:
        return {}
    hits, centre_hits = [], []
    centre = cam.centre_map(samples.input_size)
    for part in rows.split(batch_size):
        images, masks = _images(classifier, samples, part), samples.masks[part]
        maps = _maps(classifier, images, targets[part], options)
        hits.append(cam.pointing_hits(maps, masks))
        centre_hits.append(cam.pointing_hits(centre.expand(len(part), *centre.shape), masks))
    patients = samples.table["patient"].to_numpy()[rows.numpy()]
    scores = {}
    for name, values in (("pointing_game", hits), ("pointing_game_centre", centre_hits)):
        value, low, high = bootstrap_mean(torch.cat(values).double().numpy(), patients)
        scores[f"{split}/{name}"] = {"value": value, "low": low, "high": high, "n": len(rows)}
    return scores


if __name__ == "__main__":
    cli.main(main, "explain")
