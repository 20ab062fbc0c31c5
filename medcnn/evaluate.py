"""``python -m medcnn.evaluate``: the figures of a checkpoint again, or on other data."""

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from medcnn.errors import UserError, check_checkpoint, check_whole_number
from medcnn.jobs import command_line as cli
from medcnn.jobs.atomic_files import (
    check_folder,
    for_spreadsheets,
    write_csv,
    write_json,
    write_text,
)
from medcnn.jobs.instantiate import plain
from medcnn.jobs.notes import note
from medcnn.jobs.private import hide_paths
from medcnn.jobs.rundir import RunDir, environment

if TYPE_CHECKING:
    from pytorch_lightning import Trainer
    from torch import Tensor

    from medcnn.classifier.classifier import Classifier
    from medcnn.data.open_data import DataSet
    from medcnn.data.samples import Samples


def evaluate(cfg: DictConfig, trust: list[str]) -> dict[str, Any]:
    """Pass a split through a checkpoint; write figures and predictions to a run directory.

    With the batch size, threads and precision of the training the figures are the training's own,
    to the last digit.

    Data of the training are split as they were then (`medcnn.inference.seen.open_tested`).

    Args:
        cfg: The config as composed from conf/evaluate.yaml.
        trust: Names that the checkpoint's config may hold beside medcnn's own.

    Returns:
        The content of metrics.json.

    Raises:
        UserError: Anything that the user can put right.
    """
    if cfg.checkpoint is not None:
        check_checkpoint(cfg.checkpoint)
    from medcnn.classifier.card import check_fits
    from medcnn.classifier.ensemble import load_members
    from medcnn.data.batches import DataModule
    from medcnn.data.samples import ALL_SPLITS, NEW
    from medcnn.evaluation.few_images import isotonic_lines
    from medcnn.evaluation.of_tables import check_settings
    from medcnn.inference.seen import open_tested
    from medcnn.inference.tables import headline
    from medcnn.inference.tta import collect, mirrored_axes
    from medcnn.training.trainer import bare_trainer, set_threads

    start = time.perf_counter()
    if cfg.split not in (*ALL_SPLITS, NEW):
        raise UserError(f"split={cfg.split}: choose one of {', '.join((*ALL_SPLITS, NEW))}")
    check_settings(plain(cfg.evaluation))
    paths, members, choices = load_members(cfg.checkpoint, cfg.ensemble, trust)
    for member in members:
        member.calibrate(cfg.calibration)
    few = isotonic_lines(members[0].choices) if cfg.calibration == "isotonic" else []
    classifier = members[0]
    trained = classifier.card["config"]
    if cfg.evaluation.operating_point is not None and (choices or len(members) == 1):
        raise UserError(
            f"evaluation.operating_point={cfg.evaluation.operating_point}: the threshold is that "
            "which the training chose on its own validation images, and kept"
        )
    axes = mirrored_axes(cfg.tta, trained)
    batch_size = trained["batch_size"] if cfg.batch_size is None else cfg.batch_size
    check_whole_number("batch_size", batch_size, least=1)
    set_threads(cfg.threads if cfg.threads is not None else trained["trainer"]["threads"], 1)
    trainer = bare_trainer(cfg.accelerator, cfg.precision or trained["trainer"]["precision"])
    run = RunDir(cli.sweep_run_dir() or cfg.paths.run)
    for path in paths:
        if run.path.resolve() in path.resolve().parents:
            raise UserError(f"paths.run={run.path} holds the checkpoint itself; choose another")
    run.refuse_if_taken(cfg.overwrite)
    for_spreadsheets(cfg.get("spreadsheet", False))
    check_folder(f"paths.run={run.path}", run.path)
    data, notes = open_tested(members, paths, cfg, trust, folder=run.path)
    samples, notes = data.samples, [*notes, *few]
    for line in notes:
        note(line)
    check_fits(classifier, samples)
    samples.rows(cfg.split)
    own, splits = cfg.get("dataset") is None, (cfg.split,)
    if len(members) > 1 and own and not choices and (samples.table["split"] == "val").any():
        splits = tuple(dict.fromkeys(("val", cfg.split)))
    module = DataModule(samples, batch_size, test_splits=splits)
    with run.claimed(cfg.overwrite):
        collected = collect(trainer, members, module, axes)
        if len(members) > 1:
            rule = cfg.evaluation.operating_point or trained["evaluation"]["operating_point"]
            point = choices.get("operating_points", {}).get(cfg.calibration)
            stand_for_all(classifier, point or _chosen_anew(classifier, samples, collected, rule))
        metrics = write_tested(run, cfg, trainer, classifier, data, collected, notes)
        seconds = time.perf_counter() - start
        run.set_status("finished", seconds=seconds, overrides=cli.task_overrides())
    print(f"{run.path}: {headline(metrics, cfg.split)}", flush=True)
    return metrics


def write_tested(
    run: RunDir,
    cfg: DictConfig,
    trainer: "Trainer",
    classifier: "Classifier",
    data: "DataSet",
    collected: "dict[str, Tensor]",
    notes: list[str],
) -> dict[str, Any]:
    """Write all that a test leaves in its run directory but the status; give metrics.json.

    Args:
        run: Where.
        cfg: With ``split``, ``aggregate`` and ``evaluation``; kept in config.yaml.
        trainer: That passed the data.
        classifier: What was tested, or of an ensemble its first member (`stand_for_all`).
        data: The data set.
        collected: Of `medcnn.inference.tta.collect`.
        notes: Sentences that a reader of the figures has to know.
    """
    from medcnn.data.checks.problems import problems_table
    from medcnn.data.open_data import data_config
    from medcnn.inference.tables import write_results
    from medcnn.report import write_run_page

    trained = classifier.card["config"]
    settings = data_config(trained, cfg)
    OmegaConf.resolve(cfg)
    hide_paths(cfg, settings.paths.pseudonym_key if settings.pseudonymise else None)
    write_text(run / "config.yaml", OmegaConf.to_yaml(cfg))
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
        evaluation=plain(cfg.evaluation),
        calibration=cfg.get("calibration"),  # of an ensemble its first member speaks plainly
        notes=notes,
    )
    write_run_page(run.path)
    return metrics


def _chosen_anew(
    classifier: "Classifier", samples: "Samples", collected: "dict[str, Tensor]", rule: str
) -> dict[str, Any] | None:
    """An ensemble's own threshold, from its validation split; of other data there is none."""
    from medcnn.classifier.chosen_on_validation import operating_point

    splits = samples.table["split"].to_numpy()[collected["row"].numpy()]
    rows = splits == "val"
    if rows.any() and classifier.objective.task in ("binary", "multilabel"):
        with suppress(UserError):  # a class that the rule needs is absent
            point = operating_point(
                classifier.objective,
                collected["probs"][rows],
                collected["label"][rows],
                rule,
                classifier.card["class_names"],
            )
            return point | {"chosen_on": "val"}
    return None


def stand_for_all(classifier: "Classifier", point: dict[str, Any] | None) -> None:
    """Let the first member speak for an ensemble, whose mean has a threshold of its own."""
    classifier.calibration = "none"  # the members' probabilities are calibrated already
    classifier.card["choices"] = {"operating_point": point}


if __name__ == "__main__":
    cli.main(evaluate, "evaluate")
