"""The maps behind the decisions on a split, and whether they can be believed."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import DictConfig

from medcnn import cam
from medcnn.classifier.card import check_fits
from medcnn.classifier.checkpoint import load
from medcnn.classifier.classifier import Classifier
from medcnn.classifier.ensemble import FILE, read_ensemble
from medcnn.data.samples import Samples
from medcnn.errors import UserError, check_whole_number
from medcnn.evaluation import bootstrap_mean
from medcnn.evidence import ClassifierMaps, Explainer, draw_gallery
from medcnn.evidence.finished_parts import Parts
from medcnn.evidence.layers import worst_rows, write_layers
from medcnn.evidence.measurement import GROUPS, Job, measured, methods_of
from medcnn.evidence.summary import Record
from medcnn.evidence.verdicts import verdicts
from medcnn.inference.seen import open_tested
from medcnn.jobs.atomic_files import check_folder, write_csv, write_json
from medcnn.jobs.hardware import device_of
from medcnn.jobs.instantiate import plain
from medcnn.jobs.notes import note, once
from medcnn.jobs.progress import Progress, saying
from medcnn.report import write_cam_page

SHOWN = ("pointing_game", "energy_inside", "road", "noise_stability", "marker_energy")


def explain_checkpoint(cfg: DictConfig, trust: list[str]) -> dict[str, Any]:
    """Draw and score the maps of a split that conf/explain.yaml asks for.

    Args:
        cfg: The config as composed from conf/explain.yaml.
        trust: Names that the checkpoint's config may hold beside medcnn's own.

    Returns:
        What scores.json holds.

    Raises:
        UserError: Anything that the user can put right.
    """
    members = members_of(Path(cfg.checkpoint))
    with once():  # what is said of the data holds for all folds
        explainers = [_explainer(path, cfg, trust) for path in members]
    methods, notes = methods_of(explainers[0], plain(cfg.methods))
    samples = explainers[0].samples
    folder = Path(cfg.output or _run_of(cfg) / "cams" / f"{_plain_name(samples)}-{cfg.split}")
    check_folder(f"output={folder}", folder)
    jobs = [
        _job(cfg, explainer, methods, folder / "parts" / str(k), trust, members)
        for k, explainer in enumerate(explainers)
    ]
    try:
        table, scores = _measured(jobs)
        _galleries(cfg, jobs, folder)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command goes on where it was") from None
    notes += [line for line in jobs[0].left_out if all(line in job.left_out for job in jobs)]
    for job in jobs:
        notes += job.notes
    notes += verdicts(table, samples)
    settings = _settings(cfg, samples, methods)
    result = {"settings": settings, "scores": scores, "notes": list(dict.fromkeys(notes))}
    write_csv(folder / "scores.csv", table)
    write_json(folder / "scores.json", result)
    page = write_cam_page(folder)
    shutil.rmtree(folder / "parts")
    _report(result, page)
    return result


def members_of(checkpoint: Path) -> list[Path]:
    """The checkpoint itself; of the run directory of a cross-validation that of each fold."""
    if checkpoint.name == FILE or (checkpoint / FILE).is_file():
        return read_ensemble(checkpoint)
    return [checkpoint]


def chosen_groups(given: Any) -> list[str]:
    """The groups of scores that ``scores=`` asks for: all, one, or a list."""
    return list(GROUPS) if given == "all" else [given] if isinstance(given, str) else list(given)


@saying("maps")
def explain_split(
    classifier: Classifier,
    samples: Samples,
    folder: Path,
    *,
    split: str,
    method: str,
    n: int,
    stage: str = "last",
) -> dict[str, Any]:
    """The gallery of a run, and whether its maps hit the lesions: what every training ends with.

    The gallery explains the decided class, and so do the pictures of ``layers.json``, which hold
    the worst errors of the run's evaluation.json too. The pointing game (Zhang et al. 2018)
    explains the true class of every image with a lesion mask, where that class is known: does the
    map's maximum lie on the lesion? It stands next to the same figure for the centre of the image,
    both with 95 % intervals from a bootstrap over patients. In regression both explain the
    prediction, of several targets that of the first.

    Returns:
        ``{"<split>/pointing_game": {"value", "low", "high", "n"}, …}``; empty without masks.

    Raises:
        UserError: A net without feature maps, an unknown method or stage, or an empty split.
    """
    check_whole_number("n", n, least=1)
    explainer = Explainer(classifier, samples, stage=stage)
    size = _batch_size(classifier, None)
    shown = [(explainer, _spread(samples, split, n))]
    draw_gallery(shown, method, folder / "gallery.png", folder, size)
    kinds = {"sample": shown[0][1], "error": worst_rows(folder.parent / "evaluation.json")}
    write_layers(explainer, kinds, method, folder, size)
    rows = explainer.rows_with_lesion(split, size)
    if len(rows) == 0:
        return {}
    hits: dict[str, list[torch.Tensor]] = {"pointing_game": [], "pointing_game_centre": []}
    for batch in explainer.batches(rows, size):
        assert batch.masks is not None
        for name, how in (("pointing_game", method), ("pointing_game_centre", "centre")):
            maps = explainer.maps(batch, explainer.truth(batch.rows), how)
            hits[name].append(cam.pointing_hits(maps, batch.masks))
    patients = samples.table["patient"].to_numpy()[rows.numpy()]
    scores = {}
    for name, values in hits.items():
        value, low, high = bootstrap_mean(torch.cat(values).cpu().double().numpy(), patients)
        scores[f"{split}/{name}"] = {"value": value, "low": low, "high": high, "n": len(rows)}
    write_json(folder / "scores.json", scores)
    return scores


def check_explainable(classifier: Classifier, method: str, stage: str) -> None:
    """Raise UserError if there is no such map of this net: before it is trained, not after."""
    ClassifierMaps(classifier, stage=stage).check(method)
    classifier.train()


def interval(figure: dict[str, Any]) -> str:
    """``0.731 [0.652, 0.803]``; without the brackets where there is no interval."""
    if figure["value"] is None:
        return "undefined"
    bounds = (figure["low"], figure["high"])
    shown = "" if None in bounds else " [{:.3f}, {:.3f}]".format(*bounds)
    return f"{figure['value']:.3f}{shown}"


def _explainer(path: Path, cfg: DictConfig, trust: Sequence[str]) -> Explainer:
    """A checkpoint with the data that it is explained on."""
    classifier = load(path, trust=trust).to(device_of(cfg.accelerator))
    data, notes = open_tested([classifier], [path], cfg, trust)
    samples = data.samples
    for line in notes:
        note(line)
    check_fits(classifier, samples)
    return Explainer(classifier, samples, stage=plain(cfg.stage), smooth=cfg.smooth)


def _job(
    cfg: DictConfig,
    explainer: Explainer,
    methods: Sequence[str],
    parts: Path,
    trust: Sequence[str],
    members: Sequence[Path],
) -> Job:
    """What to measure of one checkpoint, of `members` of a cross-validation its share."""
    given = [Path(path) for path in (*plain(cfg.seeds), cfg.random_labels) if path is not None]
    if given and len(members) > 1:
        raise UserError("seeds=… and random_labels=… go with one checkpoint, not with all folds")
    others = [_other(path, explainer, trust) for path in given]
    relabelled = others.pop() if cfg.random_labels is not None else None
    size = _batch_size(explainer.classifier, cfg.batch_size)
    depends_on = _fingerprint(cfg, explainer.samples, [*members, *given], size)
    return Job(
        explainer,
        cfg.split,
        methods,
        chosen_groups(plain(cfg.scores)),
        limit=None if cfg.limit is None else max(1, cfg.limit // len(members)),
        sample=max(1, cfg.sample // len(members)),
        batch_size=size,
        others=others,
        relabelled=relabelled,
        parts=Parts(parts, depends_on),
    )


def _measured(jobs: Sequence[Job]) -> tuple[pd.DataFrame, list[Record]]:
    """All scores; says how far it is."""
    with Progress("parts of the scores", sum(job.size for job in jobs)) as progress:

        def tick(name: str) -> None:
            progress.what = f"parts of the scores ({name})"
            progress.advance()

        for job in jobs:
            job.tick = tick
        return measured(jobs)


def _other(path: Path, first: Explainer, trust: Sequence[str]) -> Explainer:
    """The explainer of another checkpoint, on the same data."""
    classifier = load(path, trust=trust).to(first.classifier.device)
    check_fits(classifier, first.samples)
    return Explainer(classifier, first.samples, stage=first.stage, smooth=first.smooth)


@saying("galleries")
def _galleries(cfg: DictConfig, jobs: Sequence[Job], folder: Path) -> None:
    """One sheet a method, of images spread over classes (and folds)."""
    if not cfg.n:
        return
    shares = [cfg.n // len(jobs) + (k < cfg.n % len(jobs)) for k in range(len(jobs))]
    shown = [
        (job.explainer, _spread(job.explainer.samples, cfg.split, share))
        for job, share in zip(jobs, shares, strict=True)
        if share
    ]
    for method in jobs[0].methods:
        out, raw = folder / f"gallery-{method}.png", folder / "maps" / method
        draw_gallery(shown, method, out, raw, jobs[0].batch_size, plain(cfg.scale))


def _spread(samples: Samples, split: str, n: int) -> torch.Tensor:
    """Rows of a gallery, class by class."""
    return samples.spread(samples.rows(split), n)


def _plain_name(samples: Samples) -> str:
    """The name of a data set as part of a path."""
    return re.sub(r"[^\w.-]+", "_", samples.name)


def _run_of(cfg: DictConfig) -> Path:
    """The run directory that a checkpoint lies in."""
    path = Path(cfg.checkpoint).resolve()
    return path if path.is_dir() else path.parent if path.name == FILE else path.parent.parent


def _batch_size(classifier: Classifier, given: int | None) -> int:
    return classifier.card["config"]["batch_size"] if given is None else given


def _fingerprint(
    cfg: DictConfig, samples: Samples, files: Sequence[Path], batch_size: int
) -> dict[str, Any]:
    """What a finished part depends on, beside its method."""
    stats = [(path.resolve(), path.stat()) for path in files]
    return {
        "checkpoints": [[str(path), stat.st_mtime_ns, stat.st_size] for path, stat in stats],
        "data": [samples.name, len(samples)],
        "batch_size": batch_size,
        **{key: plain(cfg[key]) for key in ("split", "stage", "smooth", "limit", "sample")},
    }


def _settings(cfg: DictConfig, samples: Samples, methods: Sequence[str]) -> dict[str, Any]:
    """How it was made, as the page tells it."""
    checkpoint = Path(cfg.checkpoint)
    return {
        "data": samples.name,
        "split": cfg.split,
        "images": len(samples.rows(cfg.split)),
        "checkpoint": "/".join(checkpoint.parts[-3:]),
        "methods": list(methods),
        **{key: plain(cfg[key]) for key in ("stage", "smooth", "limit", "sample")},
    }


def _report(result: dict[str, Any], page: Path) -> None:
    for record in result["scores"]:
        if record["class"] is None and record["score"] in SHOWN:
            print(f"{record['method']} {record['score']} {interval(record)}, n = {record['n']}")
    for text in result["notes"]:
        print(text)
    print(f"page: {page}", flush=True)
