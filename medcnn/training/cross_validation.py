"""K-fold cross-validation: every fold trained, every sample predicted once, one ensemble kept."""

import json
import time
from pathlib import Path
from typing import Any

import pandas as pd

from medcnn.classifier.checkpoint import read_checkpoint
from medcnn.classifier.classifier import Card, Classifier
from medcnn.classifier.ensemble import load_members, point_of, write_ensemble
from medcnn.data.batches import DataModule
from medcnn.data.checks.dataset import DataSet
from medcnn.data.open_data import open_data
from medcnn.data.samples import HOLDOUT, Samples
from medcnn.evaluation.columns import TEXT
from medcnn.evaluation.few_images import one_class_lines
from medcnn.evaluation.label_issues import label_issues
from medcnn.evaluation.of_tables import analysis_of, flat, predictions_of
from medcnn.evaluation.operating_point import parse_rule
from medcnn.evaluation.pooled import auroc_within_folds
from medcnn.inference import out_of_fold
from medcnn.inference.of_split import stand_for_all, write_tested
from medcnn.inference.results import headline
from medcnn.inference.seen import open_tested
from medcnn.inference.tta import bare_trainer, collect, mirrored_axes, mirrored_lines
from medcnn.jobs.atomic_files import read_csv, read_sample_table, write_csv, write_json, write_text
from medcnn.jobs.hardware import device, set_threads
from medcnn.jobs.notes import once
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import OfficialTest, Train
from medcnn.report.run.model_card import write_model_card
from medcnn.report.run.page import write_run_page
from medcnn.training import fold as one_fold
from medcnn.training.perf import settle_perf
from medcnn.training.side_by_side import train_side_by_side
from medcnn.training.trackers import tracked


def cross_validate(
    cfg: Train, run: RunDir, trust: list[str], before: one_fold.Before = lambda cfg: None
) -> float:
    """Train and test each fold in a run directory of its own, then pool what they say.

    The folder then holds, beside ``fold-<k>/``: ``predictions.csv``, in which every sample is
    predicted by the one fold that never saw it; ``metrics.json`` of these pooled predictions;
    ``folds.csv``, a row a fold; ``label_issues.csv``, the labels that are likeliest wrong, the
    first of them with images and maps in ``cams/``;
    ``samples.csv`` with the fold that each sample is tested in; and
    ``ensemble.json``, with which `medcnn.load` and ``medcnn.predict`` take all members as one.

    Folds that are finished are left as they are; one that was interrupted goes on.

    Args:
        cfg: With ``folds``; its ``fold`` is taken to be each of them in turn.
        run: Where.
        trust: Names that the config may hold beside medcnn's own.
        before: Called with the settings of each fold that is still to be trained, and may change
            them.

    Returns:
        Mean over the folds of the highest validation figure.
    """
    parse_rule(cfg.evaluation.operating_point)
    parts = [RunDir(run / f"fold-{fold}") for fold in range(cfg.folds)]
    with tracked(cfg, run, trust):
        with once():  # what is said of the data holds for all folds
            _settle_perf(cfg, run, trust)
            _train_folds(cfg, parts, trust, before)
        _pool_samples(run, parts)
        members, data, notes = _opened(cfg, run, parts, trust)
        official = _finish_ensemble(
            cfg, run, members, [part.weights for part in parts], data, notes
        )
        metrics = _pool_predictions(cfg, run, parts, official)
        _list_label_issues(cfg, run, members, data.samples)
        write_run_page(run.path)
        write_model_card(run.path)
        print(f"{run.path}: {cfg.folds} folds pooled: {headline(metrics)}", flush=True)
        if official:
            print(f"{run / 'ensemble'}: official test images: {headline(official)}", flush=True)
    best = [part.status["best"] for part in parts]
    return sum(float("nan") if one is None else float(one) for one in best) / len(best)


def _settle_perf(cfg: Train, run: RunDir, trust: list[str]) -> None:
    """Choose once for all folds what ``perf=auto`` leaves open, on the data of the first."""
    if cfg.perf is None:
        return
    own = cfg.model_copy(deep=True, update={"fold": 0})
    for line in settle_perf(own, open_data(own, trust, quiet=True).samples, trust):
        print(line, flush=True)
    cfg.trainer, cfg.optimizer, cfg.perf = own.trainer, own.optimizer, None
    write_text(run / "config.yaml", cfg.yaml())


def _opened(
    cfg: Train, run: RunDir, parts: list[RunDir], trust: list[str]
) -> tuple[list[Classifier], DataSet, list[str]]:
    """Return the networks of the folds, and the data, in which official test images are test."""
    write_ensemble(run.path, [part.weights for part in parts])
    paths, members, _ = load_members(run.path, [], trust)
    set_threads(cfg.trainer.threads, 1)
    return members, *open_tested(members, paths, _official(cfg), trust)


def _official(cfg: Train) -> OfficialTest:
    """Return the settings of the test on the official test images."""
    return OfficialTest.model_validate(cfg.plain() | {"split": HOLDOUT, "dataset": None})


def _finish_ensemble(
    cfg: Train,
    run: RunDir,
    members: list[Classifier],
    checkpoints: list[Path],
    data: DataSet,
    notes: list[str],
) -> dict[str, Any]:
    """Choose the ensemble's operating point, and test it on the official test images.

    Of members and their checkpoints, and what `open_tested` returns.

    Returns:
        The figures of that test, which lies in ``ensemble/``; empty without such images.
    """
    start = time.perf_counter()
    trainer = bare_trainer(cfg.trainer.accelerator, cfg.trainer.precision)
    rule = cfg.evaluation.operating_point
    axes = mirrored_axes(cfg.tta, cfg.plain())
    choices = out_of_fold.choose(
        trainer, members, checkpoints, data.samples, cfg.batch_size, rule, axes
    )
    write_ensemble(run.path, checkpoints, choices)
    if not (data.samples.table["split"] == "test").any():
        return {}
    settings, own = _official(cfg), RunDir(run / "ensemble")
    settings.split = "test"
    with own.claimed(overwrite=True):
        module = DataModule(data.samples, cfg.batch_size)
        collected = collect(trainer, members, module, axes)
        stand_for_all(members[0], point_of(choices, mirrored=bool(axes)))
        notes = [*notes, *mirrored_lines(axes)]
        metrics = write_tested(own, settings, trainer, members[0], data, collected, notes)
        own.set_status("finished", seconds=time.perf_counter() - start)
    return metrics


def _list_label_issues(
    cfg: Train, run: RunDir, members: list[Classifier], samples: Samples
) -> None:
    """Write label_issues.csv, and unless cam.n=0 images and maps of the first labels."""
    table = read_csv(run / "predictions.csv", TEXT)
    issues = label_issues(predictions_of(table, members[0].card))
    if cfg.cam.n > 0:
        from medcnn.evidence.of_label_issues import explain_label_issues

        for member in members:
            member.to(device(cfg.trainer))
        how = {"method": cfg.cam.method, "stage": cfg.cam.stage}
        issues = explain_label_issues(issues, run.path, members, samples, **how)
    write_csv(run / "label_issues.csv", issues)


def _train_folds(
    cfg: Train, parts: list[RunDir], trust: list[str], before: one_fold.Before
) -> None:
    """Train the folds that aren't finished."""
    if cfg.folds_at_once > 1:
        return train_side_by_side(cfg, parts, trust, before)
    for fold, part in enumerate(parts):
        if not part.finished:
            one_fold.train(one_fold.begin(cfg, part, fold, before), part, trust)


def _pool_samples(run: RunDir, parts: list[RunDir]) -> None:
    tables = [read_csv(part / "samples.csv") for part in parts]
    pooled = tables[0].drop(columns="split")
    for fold, table in enumerate(tables):
        pooled.loc[table["split"] == "test", "fold"] = str(fold)
    write_csv(run / "samples.csv", pooled)


def _pool_predictions(
    cfg: Train, run: RunDir, parts: list[RunDir], official: dict[str, Any]
) -> dict[str, Any]:
    """Write the pooled predictions, their figures, and the folds side by side."""
    card = read_checkpoint(parts[0].weights)["medcnn"]
    by_fold = [{"fold": fold, **_tested(part)} for fold, part in enumerate(parts)]
    first = json.loads((parts[0] / "evaluation.json").read_text(encoding="utf-8"))
    finest, pooled_levels = first["level_names"][0], {}
    for name, level in (("predictions.csv", finest), ("predictions_study.csv", "study")):
        if (parts[0] / name).exists():
            pooled_levels[level] = _pooled(parts, name)
            write_csv(run / name, pooled_levels[level])
    write_csv(run / "folds.csv", pd.DataFrame(by_fold))
    samples = read_sample_table(run / "samples.csv").set_index("row")
    evaluation, aggregate, point = cfg.evaluation.plain(), cfg.aggregate, _points(parts)
    content = analysis_of(
        pooled_levels,
        samples,
        card,
        "test",
        aggregate,
        evaluation,
        point=point,
        data=first["data"],
        notes=[
            *_without_point(point),
            *mirrored_lines(mirrored_axes(cfg.tta, cfg.plain())),
            *one_class_lines(pooled_levels[finest]),
        ],
    )
    content["folds"] = {
        key: [one.get(key) for one in by_fold] for key in by_fold[0] if key != "fold"
    }
    if official:
        count = next(iter(official.values()))["n"]
        content["notes"].append(
            f"{count} official test images are in no fold; on them the mean of all folds' networks "
            f"has {headline(official)} (ensemble/report.html)."
        )
    content["notes"] += _both_areas(content, pooled_levels, card, evaluation["resamples"])
    write_json(run / "evaluation.json", content)
    metrics = flat(content) | {f"ensemble/{key}": figure for key, figure in official.items()}
    write_json(run / "metrics.json", metrics)
    return metrics


def _pooled(parts: list[RunDir], name: str) -> pd.DataFrame:
    """Return the rows that each fold tested of a table of predictions, with the column ``fold``."""
    tables = [read_csv(part / name, TEXT).assign(fold=fold) for fold, part in enumerate(parts)]
    pooled = pd.concat([table[table["split"] == "test"] for table in tables])
    return pooled.sort_values("row" if "row" in pooled else "study", kind="stable")


def _both_areas(
    content: dict[str, Any], pooled: dict[str, pd.DataFrame], card: Card, resamples: int
) -> list[str]:
    """Add the AUROC by ranks within folds to the figures; return a sentence about both."""
    if card["task"] == "regression":
        return []
    for name, table in pooled.items():
        level = content["levels"][name]
        ranked = auroc_within_folds(predictions_of(table, card), resamples=resamples)
        auroc = {"auroc": level["figures"].pop("auroc")}
        level["figures"] = auroc | {"auroc_within_folds": ranked} | level["figures"]
    how = {key.split(", ")[0]: text for key, text in content["intervals"].items()}
    if "auroc" in how:
        content["intervals"]["auroc_within_folds"] = how["auroc"]
    first = content["levels"][next(iter(pooled))]["figures"]
    folds = [value for value in content["folds"]["test/auroc"] if value is not None]
    shown = [first[key]["value"] for key in ("auroc", "auroc_within_folds")]
    if None in shown or not folds:
        return []
    return [
        f"The folds have a network each, and no common scale of probabilities. Pooled as they are "
        f"their AUROC is {shown[0]:.3f}, by ranks within each fold {shown[1]:.3f}; fold by fold it "
        f"is {', '.join(f'{value:.3f}' for value in folds)} (mean {sum(folds) / len(folds):.3f})."
    ]


def _tested(part: RunDir) -> dict[str, float | None]:
    """Return the figures of a fold's test split, of all levels."""
    metrics = json.loads((part / "metrics.json").read_text(encoding="utf-8"))
    return {key: one["value"] for key, one in metrics.items() if key.startswith("test/")}


def _points(parts: list[RunDir]) -> dict[str, Any] | None:
    """Return the operating points of the folds in one: ``thresholds``, of each fold its own.

    It is None for a fold in which none could be chosen, which decides at 0.5; None in place of all
    if that is so in every fold.
    """
    paths = [part / "evaluation.json" for part in parts]
    points = [json.loads(path.read_text(encoding="utf-8"))["operating_point"] for path in paths]
    first = next((point for point in points if point), None)
    if first is None:
        return None
    facts = {key: first[key] for key in ("rule", "chosen_on")}
    if "labels" not in first:
        return facts | {"thresholds": [point and point["threshold"] for point in points]}
    labels = {}
    for name in first["labels"]:
        of_label = [point and point["labels"].get(name) for point in points]
        own = [one and one["threshold"] for one in of_label]
        labels[name] = {"thresholds": own} if any(one is not None for one in own) else None
    return facts | {"labels": labels}


def _without_point(point: dict[str, Any] | None) -> list[str]:
    """Say in which folds no threshold could be chosen."""
    thresholds = (point or {}).get("thresholds", [])
    folds = [str(fold) for fold, threshold in enumerate(thresholds) if threshold is None]
    if not folds:
        return []
    return [
        f"No threshold could be chosen in fold {', '.join(folds)}, whose decisions are made at 0.5."
    ]
