"""``python -m medcnn.evaluate``: the figures of a checkpoint again, or on other data."""

import time
from typing import Any

from medcnn.errors import UserError, check_checkpoint
from medcnn.inference.of_split import stand_for_all, write_tested
from medcnn.jobs import command_line as cli
from medcnn.jobs.atomic_files import check_folder, for_spreadsheets
from medcnn.jobs.notes import note
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import Evaluate


def evaluate(cfg: Evaluate, trust: list[str]) -> dict[str, Any]:
    """Pass a split through a checkpoint; write figures and predictions to a run directory.

    With the batch size, threads and precision of the training the figures are the training's own,
    to the last digit.

    Data of the training are split as they were then (`medcnn.inference.seen.open_tested`).

    Args:
        cfg: See conf/evaluate.yaml.
        trust: Names that the checkpoint's config may hold beside medcnn's own.

    Returns:
        The content of metrics.json.

    Raises:
        UserError: Anything that the user can put right.
    """
    if cfg.checkpoint is not None:
        check_checkpoint(cfg.checkpoint)
    from medcnn.classifier.card import check_fits
    from medcnn.classifier.chosen_on_validation import chosen_anew
    from medcnn.classifier.ensemble import load_members
    from medcnn.data.batches import DataModule
    from medcnn.data.open_data import of_training
    from medcnn.evaluation.few_images import isotonic_lines
    from medcnn.evaluation.operating_point import parse_rule
    from medcnn.inference.results import headline
    from medcnn.inference.seen import open_tested
    from medcnn.inference.tta import bare_trainer, collect, mirrored_axes
    from medcnn.jobs.hardware import set_threads

    start = time.perf_counter()
    if cfg.evaluation.operating_point is not None:
        parse_rule(cfg.evaluation.operating_point)
    paths, members, choices = load_members(cfg.checkpoint, cfg.ensemble, trust)
    for member in members:
        member.calibrate(cfg.calibration)
    isotonic = cfg.calibration == "isotonic"
    few = isotonic_lines([member.choices for member in members]) if isotonic else []
    classifier = members[0]
    trained = classifier.card["config"]
    if cfg.evaluation.operating_point is not None and (choices or len(members) == 1):
        raise UserError(
            f"evaluation.operating_point={cfg.evaluation.operating_point}: the threshold is that "
            "which the training chose on its own validation images, and kept"
        )
    axes = mirrored_axes(cfg.tta, trained)
    batch_size = trained["batch_size"] if cfg.batch_size is None else cfg.batch_size
    set_threads(cfg.threads if cfg.threads is not None else trained["trainer"]["threads"], 1)
    trainer = bare_trainer(cfg.accelerator, cfg.precision or trained["trainer"]["precision"])
    run = RunDir(cfg.paths.run)
    for path in paths:
        if run.path.resolve() in path.resolve().parents:
            raise UserError(f"paths.run={run.path} holds the checkpoint itself; choose another")
    run.refuse_if_taken(cfg.overwrite)
    for_spreadsheets(cfg.spreadsheet)
    check_folder(f"paths.run={run.path}", run.path)
    data, notes = open_tested(members, paths, cfg, trust, problems=run.problems)
    samples, notes = data.samples, [*notes, *few]
    for line in notes:
        note(line)
    check_fits(classifier, samples)
    samples.rows(cfg.split)
    own = of_training(cfg)
    splits: tuple[str, ...] = (cfg.split,)
    if len(members) > 1 and own and not choices and (samples.table["split"] == "val").any():
        splits = tuple(dict.fromkeys(("val", cfg.split)))
    module = DataModule(samples, batch_size, test_splits=splits)
    with run.claimed(cfg.overwrite):
        collected = collect(trainer, members, module, axes)
        if len(members) > 1:
            rule = cfg.evaluation.operating_point or trained["evaluation"]["operating_point"]
            point = choices.get("operating_points", {}).get(cfg.calibration)
            stand_for_all(classifier, point or chosen_anew(classifier, samples, collected, rule))
        metrics = write_tested(run, cfg, trainer, classifier, data, collected, notes)
        seconds = time.perf_counter() - start
        run.set_status("finished", seconds=seconds, overrides=cli.task_overrides())
    print(f"{run.path}: {headline(metrics, cfg.split)}", flush=True)
    return metrics


if __name__ == "__main__":
    cli.main(evaluate, "evaluate")
