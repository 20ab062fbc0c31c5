"""``python -m medcnn.explain``: the class activation maps of a split, and whether they hit."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from medcnn import cam, cli
from medcnn.assemble import check_fits, make_samples
from medcnn.classifier import Classifier, load
from medcnn.data.batches import unit_intensity
from medcnn.data.samples import Samples
from medcnn.errors import UserError, check_whole_number
from medcnn.evaluation import bootstrap_mean
from medcnn.files import replacing, write_json
from medcnn.report import GalleryItem, gallery
from medcnn.trainer import autocast, device_of


def main(cfg: DictConfig, trust: list[str]) -> dict[str, Any]:
    """Make the gallery and the scores that conf/explain.yaml describes."""
    checkpoint = Path(cfg.checkpoint)
    classifier = load(checkpoint, trust=trust).to(device_of(cfg.accelerator))
    samples = make_samples(cfg.get("dataset") or classifier.card["config"]["dataset"], trust)
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
    class of every image with a lesion mask: does the map's maximum lie on the lesion? It stands
    next to the same figure for the centre of the image, both with 95 % intervals from a bootstrap
    over patients.

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
    title = f"{samples.name}, {split}: {method} of the decided class"
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
    """At most `n` rows of a split, evenly from its classes and evenly within each, in order."""
    rows = samples.rows(split)
    labels = samples.labels[rows]
    group = labels if labels.ndim == 1 else labels.argmax(1)
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
    return unit_intensity(images, samples.intensity_range)


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
    decided = _explained_class(classifier.objective.decide(probs), probs)
    maps = _maps(classifier, images, decided, options)
    items = []
    for k, row in enumerate(rows.tolist()):
        with replacing(folder / f"{row}.npy") as path:
            np.save(path, maps[k].numpy())
        true, chosen = samples.labels[row], int(decided[k])
        correct = bool(true[chosen]) if true.ndim else int(true) == chosen
        items.append(
            GalleryItem(
                image=images[k].movedim(0, -1).squeeze(-1).cpu().numpy(),
                map=maps[k].numpy(),
                mask=None if samples.masks is None else samples.masks[row].numpy(),
                true=_names(samples, true),
                predicted=samples.class_names[chosen],
                probability=float(probs[k, chosen]),
                correct=correct,
            )
        )
    return items


def _explained_class(decisions: Tensor, probs: Tensor) -> Tensor:
    """The decided class (N,); of several labels the most probable one."""
    return probs.argmax(1) if decisions.ndim == 2 else decisions


def _names(samples: Samples, label: Tensor) -> str:
    if label.ndim == 0:
        return samples.class_names[int(label)]
    found = [name for name, there in zip(samples.class_names, label, strict=True) if there]
    return ", ".join(found) or "none"


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
    rows = rows[samples.masks[rows].flatten(1).any(1)]
    if len(rows) == 0:
        return {}
    hits, centre_hits = [], []
    centre = cam.centre_map(samples.input_size)
    for part in rows.split(batch_size):
        images, masks = _images(classifier, samples, part), samples.masks[part]
        maps = _maps(classifier, images, samples.labels[part], options)
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
