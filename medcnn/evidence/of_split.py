"""The maps behind the decisions on a split, and whether they can be believed."""

import re
import shutil
from collections.abc import Sequence
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from medcnn.classifier.card import check_fits
from medcnn.classifier.checkpoint import load
from medcnn.classifier.ensemble import FILE, members_of
from medcnn.data.columns.of_samples import own_columns
from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.evidence import Explainer, draw_gallery
from medcnn.evidence.finished_parts import Parts
from medcnn.evidence.measurement import UNTUNED, Job, count_parts, measured
from medcnn.evidence.plan import make_plan, methods_of
from medcnn.evidence.studies import images_table
from medcnn.evidence.summary import Record, interval
from medcnn.evidence.verdicts import verdicts
from medcnn.inference.seen import open_tested
from medcnn.jobs.atomic_files import check_folder, write_csv, write_json
from medcnn.jobs.hardware import device_of
from medcnn.jobs.notes import note, once
from medcnn.jobs.progress import Progress, saying
from medcnn.jobs.settings.commands import Explain
from medcnn.report.maps.page import write_cam_page

CHANNEL_SCORES = ("removal_effect", "gradient_share")
SHOWN = (
    *("pointing_game", "energy_inside", "road", "noise_stability", "marker_energy"),
    *("image_pointing_game", "image_agreement", "image_deletion", "view_effect", *CHANNEL_SCORES),
)


def explain_checkpoint(cfg: Explain, trust: list[str]) -> dict[str, Any]:
    """Draw and score the maps that conf/explain.yaml asks for; return what scores.json holds.

    `trust` has names that the checkpoint's config may hold beside medcnn's own.

    Raises:
        UserError: Anything that the user can put right.
    """
    members = members_of(Path(cfg.checkpoint))
    with once():  # what is said of the data holds for all folds
        explainers = [_explainer(path, cfg, trust) for path in members]
    samples = explainers[0].samples
    methods, notes = methods_of(explainers[0], cfg.methods)
    name = re.sub(r"[^\w.-]+", "_", samples.name)  # as part of a path
    folder = Path(cfg.output or _run_of(cfg) / "cams" / f"{name}-{cfg.split}")
    check_folder(f"output={folder}", folder)
    try:
        jobs = [
            _job(cfg, explainer, methods, folder / "parts" / str(k), trust, members)
            for k, explainer in enumerate(explainers)
        ]
        table, scores = _measured(jobs)
        _tables(cfg, jobs, methods, folder, table)
        _galleries(cfg, jobs, methods, folder)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command goes on where it was") from None
    plans = [job.plan for job in jobs]
    notes += [line for line in plans[0].left_out if all(line in one.left_out for one in plans)]
    if any(plan.untuned for plan in plans):
        notes.append(f"no lesion in the validation split to tune on: a threshold of {UNTUNED}")
    notes += verdicts(table, samples)
    settings, notes = _settings(cfg, samples, methods), list(dict.fromkeys(notes))
    result = {"settings": settings, "scores": scores, "notes": notes}
    write_csv(folder / "scores.csv", table)
    write_json(folder / "scores.json", result)
    page = write_cam_page(folder)
    shutil.rmtree(folder / "parts")
    _report(result, page)
    return result


def _explainer(
    path: Path, cfg: Explain, trust: Sequence[str], samples: Samples | None = None
) -> Explainer:
    """Return a checkpoint with the data that it is explained on, opened if they aren't given."""
    classifier = load(path, trust=trust).to(device_of(cfg.accelerator))
    if samples is None:
        data, notes = open_tested([classifier], [path], cfg, trust)
        samples = data.samples
        for line in notes:
            note(line)
    else:
        samples = copy(samples)
        own_columns(samples, classifier.card.get("features") or [])
    check_fits(classifier, samples)
    return Explainer(classifier, samples, stage=cfg.stage, smooth=cfg.smooth)


def _job(
    cfg: Explain,
    explainer: Explainer,
    methods: Sequence[str],
    parts: Path,
    trust: Sequence[str],
    members: Sequence[Path],
) -> Job:
    """Return the job of one checkpoint, of `members` of a cross-validation its share."""
    given = [Path(path) for path in (*cfg.seeds, cfg.random_labels) if path is not None]
    if given and len(members) > 1:
        raise UserError("seeds=… and random_labels=… go with one checkpoint, not with all folds")
    others = [_explainer(path, cfg, trust, explainer.samples) for path in given]
    relabelled = others.pop() if cfg.random_labels is not None else None
    size = cfg.batch_size or explainer.classifier.card["config"]["batch_size"]
    depends_on = _fingerprint(cfg, explainer.samples, [*members, *given], size)
    plan = make_plan(
        explainer,
        cfg.split,
        methods,
        cfg.scores,
        limit=None if cfg.limit is None else max(1, cfg.limit // len(members)),
        sample=max(1, cfg.sample // len(members)),
        batch_size=size,
    )
    return Job(explainer, plan, size, Parts(parts, depends_on), others, relabelled)


def _measured(jobs: Sequence[Job]) -> tuple[pd.DataFrame, list[Record]]:
    """Return all scores; say how far it is."""
    with Progress("parts of the scores", sum(map(count_parts, jobs))) as progress:

        def tick(name: str) -> None:
            progress.what = f"parts of the scores ({name})"
            progress.advance()

        return measured(jobs, tick)


@saying("tables")
def _tables(
    cfg: Explain, jobs: Sequence[Job], methods: Sequence[str], folder: Path, table: pd.DataFrame
) -> None:
    """Write ``images.csv`` of studies (`images_table`), and ``channels.csv`` of their channels."""
    made = []
    for job in jobs if jobs[0].explainer.of_studies else ():
        parts = job.explainer.samples.rows(cfg.split).split(job.batch_size)
        names = [f"images-{'-'.join(methods)}-{k}" for k in range(len(parts))]
        for name, rows in zip(names, parts, strict=True):
            make = partial(_images_of, job.explainer, rows, methods)
            made.append(job.parts.table(name, make))
    if made:
        write_csv(folder / "images.csv", pd.concat(made, ignore_index=True))
    if len(table) and (of_channels := table[table["group"] == "channels"]).size:
        named = of_channels.rename(columns={"method": "channel"})
        write_csv(folder / "channels.csv", named[["row", "channel", *CHANNEL_SCORES]])


def _images_of(explainer: Explainer, rows: Tensor, methods: Sequence[str]) -> pd.DataFrame:
    batch = explainer.batch(rows)
    _, decided = explainer.decided(batch.images, batch.context)
    return images_table(explainer, batch, decided, methods)


@saying("galleries")
def _galleries(cfg: Explain, jobs: Sequence[Job], methods: Sequence[str], folder: Path) -> None:
    """Draw a sheet a method, of images spread over classes (and folds)."""
    if not cfg.n:
        return
    shares = [cfg.n // len(jobs) + (k < cfg.n % len(jobs)) for k in range(len(jobs))]
    shown = [
        (job.explainer, job.explainer.samples.spread(job.explainer.samples.rows(cfg.split), share))
        for job, share in zip(jobs, shares, strict=True)
        if share
    ]
    for method in methods:
        out, raw = folder / f"gallery-{method}.png", folder / "maps" / method
        draw_gallery(shown, method, out, raw, jobs[0].batch_size, cfg.scale)


def _run_of(cfg: Explain) -> Path:
    """Return the run directory that a checkpoint lies in."""
    path = Path(cfg.checkpoint).resolve()
    return path if path.is_dir() else path.parent if path.name == FILE else path.parent.parent


def _fingerprint(
    cfg: Explain, samples: Samples, files: Sequence[Path], batch_size: int
) -> dict[str, Any]:
    """Return all that a finished part depends on, beside its method."""
    stats = [(path.resolve(), path.stat()) for path in files]
    return {
        "checkpoints": [[str(path), stat.st_mtime_ns, stat.st_size] for path, stat in stats],
        "data": [samples.name, len(samples)],
        "batch_size": batch_size,
        **{key: getattr(cfg, key) for key in ("split", "stage", "smooth", "limit", "sample")},
    }


def _settings(cfg: Explain, samples: Samples, methods: Sequence[str]) -> dict[str, Any]:
    """Return the settings that the page shows."""
    checkpoint = Path(cfg.checkpoint)
    return {
        "data": samples.name,
        "split": cfg.split,
        "images" if samples.studies is None else "studies": len(samples.rows(cfg.split)),
        "checkpoint": "/".join(checkpoint.parts[-3:]),
        "methods": list(methods),
        **{key: getattr(cfg, key) for key in ("stage", "smooth", "limit", "sample")},
    }


def _report(result: dict[str, Any], page: Path) -> None:
    for record in result["scores"]:
        if record["class"] is None and record["score"] in SHOWN:
            print(f"{record['method']} {record['score']} {interval(record)}, n = {record['n']}")
    for text in result["notes"]:
        print(text)
    print(f"page: {page}", flush=True)
