"""Inference of a split: its figures and predictions in a run directory."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from torch import Tensor

from medcnn.classifier.card import check_fits
from medcnn.classifier.chosen_on_validation import chosen_anew
from medcnn.classifier.classifier import Classifier
from medcnn.classifier.ensemble import is_ensemble, load_members, point_of
from medcnn.data.batches import DataModule
from medcnn.data.checks.dataset import DataSet
from medcnn.data.checks.problems import problems_table
from medcnn.data.open_data import data_config, of_training
from medcnn.errors import UserError
from medcnn.evaluation.few_images import isotonic_lines
from medcnn.evaluation.operating_point import parse_rule
from medcnn.inference.columns import write_importance
from medcnn.inference.mc_dropout import check_mc_dropout
from medcnn.inference.results import headline, write_results
from medcnn.inference.seen import open_tested
from medcnn.inference.split_parts import collect_shared
from medcnn.inference.tta import bare_trainer, collect, mirrored_axes_of, mirrored_lines
from medcnn.jobs import command_line as cli
from medcnn.jobs.atomic_files import (
    check_folder,
    for_spreadsheets,
    write_csv,
    write_json,
    write_text,
)
from medcnn.jobs.environment import environment
from medcnn.jobs.hardware import set_threads
from medcnn.jobs.notes import note
from medcnn.jobs.private import hide_paths
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import Evaluate, OfficialTest
from medcnn.report.run.page import write_run_page


def evaluate_split(cfg: Evaluate, trust: list[str]) -> dict[str, Any]:
    """Pass a split through a checkpoint; write figures and predictions to a run directory.

    With the batch size, threads and precision of the training the figures are the training's own,
    to the last digit.

    Data of the training are split as they were then (`medcnn.inference.seen.open_tested`).

    Args:
        cfg: See conf/evaluate.yaml.
        trust: Names that the checkpoint's config may hold beside medcnn's own.

    Returns:
        The content of metrics.json.
    """
    start = time.perf_counter()
    if (rule := cfg.evaluation.operating_point) is not None:
        parse_rule(rule)
    paths, members, choices = load_members(cfg.checkpoint, cfg.ensemble, trust)
    for member in members:
        member.calibrate(cfg.calibration)
    classifier = members[0]
    trained = classifier.card["config"]
    if rule is not None and (choices or len(members) == 1):
        raise UserError(
            f"evaluation.operating_point={rule}: the threshold is that which the training chose on "
            "its own validation images, and kept"
        )
    axes = mirrored_axes_of(cfg.tta, members)
    classifier.mirrored = bool(axes)
    check_mc_dropout(members, cfg.mc_dropout)
    threads = cfg.threads if cfg.threads is not None else _threads(cfg, trained)
    set_threads(threads, 1)
    trainer = bare_trainer(cfg.accelerator, cfg.precision or trained["trainer"]["precision"])
    run = _free_run(cfg, paths)
    for_spreadsheets(cfg.spreadsheet)
    data, notes = _opened(cfg, run, paths, members, axes, trust)
    splits = [cfg.split]
    fresh = len(members) > 1 and not choices and of_training(cfg)  # its threshold is to be chosen
    if fresh and cfg.split != "val" and "val" in set(data.samples.table["split"]):
        splits.insert(0, "val")
    batch_size = trained["batch_size"] if cfg.batch_size is None else cfg.batch_size
    module = DataModule(data.samples, batch_size, test_splits=tuple(splits))
    with run.claimed(cfg.overwrite):
        if cfg.processes > 1:
            collected = collect_shared(cfg, trust, run, paths, members, module, threads)
        else:
            collected = collect(trainer, members, module, axes, cfg.mc_dropout)
        if len(members) > 1:
            point = point_of(choices, cfg.calibration, bool(axes))
            rule = rule or trained["evaluation"]["operating_point"]
            point = point or chosen_anew(classifier, data.samples, collected, rule)
            stand_for_all(classifier, point)
        where = trainer.strategy.root_device
        write_importance(run, members, data.samples, cfg.split, batch_size, where)
        metrics = write_tested(run, cfg, trainer, classifier, data, collected, notes)
        seconds = time.perf_counter() - start
        run.set_status("finished", seconds=seconds, overrides=cli.task_overrides())
    print(f"{run.path}: {headline(metrics, cfg.split)}", flush=True)
    return metrics


def _threads(cfg: Evaluate, trained: Mapping[str, Any]) -> int | None:
    """Return the threads of the training; of folds side by side, those of all of them together."""
    if cfg.checkpoint is not None and is_ensemble(Path(cfg.checkpoint)):
        run = RunDir(cfg.checkpoint)
        if (run / "config.yaml").exists():
            trained = run.read_config()
    threads: int | None = trained["trainer"]["threads"]
    return threads


def _opened(
    cfg: Evaluate,
    run: RunDir,
    paths: list[Path],
    members: list[Classifier],
    axes: list[int],
    trust: list[str],
) -> tuple[DataSet, list[str]]:
    """Return the data, which fit the classifiers, and what a reader of the figures has to know."""
    data, notes = open_tested(members, paths, cfg, trust, problems=run.problems)
    if cfg.calibration == "isotonic":
        notes = [*notes, *isotonic_lines([member.choices for member in members])]
    notes = [*notes, *mirrored_lines(axes)]
    if cfg.mc_dropout:
        passes = f"{cfg.mc_dropout} pass{'es' * (cfg.mc_dropout > 1)}"
        notes = [*notes, f"The probabilities are means of {passes} with dropout on (mc_dropout)."]
    for line in notes:
        note(line)
    check_fits(members[0], data.samples)
    data.samples.rows(cfg.split)  # raises where there is none
    return data, notes


def _free_run(cfg: Evaluate, checkpoints: Sequence[Path]) -> RunDir:
    """Return the run directory, which may be written to and doesn't hold the checkpoints."""
    run = RunDir(cfg.paths.run)
    for path in checkpoints:
        if run.path.resolve() in path.resolve().parents:
            raise UserError(f"paths.run={run.path} holds the checkpoint itself; choose another")
    run.refuse_if_taken(cfg.overwrite)
    check_folder(f"paths.run={run.path}", run.path)
    return run


def write_tested(
    run: RunDir,
    cfg: Evaluate | OfficialTest,
    trainer: Trainer,
    classifier: Classifier,
    data: DataSet,
    collected: dict[str, Tensor],
    notes: list[str],
) -> dict[str, Any]:
    """Write all that a test leaves in its run directory but the status; return metrics.json.

    The classifier is what was tested, or of an ensemble its first member (`stand_for_all`);
    `collected` is of `medcnn.inference.tta.collect`.
    """
    trained = classifier.card["config"]
    settings = data_config(trained, cfg)
    hide_paths(cfg, settings.paths.pseudonym_key if settings.pseudonymise else None)
    write_text(run / "config.yaml", cfg.yaml())
    write_json(run / "environment.json", environment(precision=str(trainer.precision)))
    write_csv(run / "samples.csv", data.samples.table, index_label="row")
    write_csv(run / "problems.csv", problems_table(data, settings))
    metrics = write_results(
        run,
        data.samples,
        classifier,
        collected,
        cfg.aggregate or trained["aggregate"],
        split=cfg.split,
        evaluation=cfg.evaluation.plain(),
        calibration=cfg.calibration,  # of an ensemble its first member speaks plainly
        notes=notes,
    )
    write_run_page(run.path)
    return metrics


def stand_for_all(classifier: Classifier, point: dict[str, Any] | None) -> None:
    """Let the first member speak for an ensemble, whose mean has a threshold of its own."""
    classifier.calibration = "none"  # the members' probabilities are calibrated already
    classifier.card["choices"] = {"operating_point": point}
