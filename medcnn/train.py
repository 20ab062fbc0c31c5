"""``python -m medcnn.train``: train, test and look."""

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from medcnn.errors import InterruptedRunError, UserError, check_whole_number
from medcnn.jobs import command_line as cli
from medcnn.jobs.atomic_files import for_spreadsheets, write_csv, write_json, write_text
from medcnn.jobs.checks import check_values
from medcnn.jobs.interruption import requeue
from medcnn.jobs.rundir import RunDir, environment
from medcnn.training.resuming import (
    check_last,
    check_unchanged,
    how_to_go_on,
    open_run,
    recorded,
    summarise_sweep,
)

if TYPE_CHECKING:
    from medcnn.data.samples import Samples


def train(cfg: DictConfig, trust: list[str]) -> float:
    """One run: train, test the best checkpoint once, write everything to the run directory.

    Args:
        cfg: The config as composed from conf/train.yaml.
        trust: Names that its ``_target_`` may hold beside medcnn's own.

    Returns:
        The highest validation AUROC (see `medcnn.evaluation.score`), which a sweep maximises.

    Raises:
        UserError: Anything that the user can put right.
        KeyboardInterrupt: With a message that says how to go on.
    """
    from medcnn.jobs.processes import refuse_launchers

    refuse_launchers()
    cfg, run, undo = open_run(cfg)
    try:
        return recorded(run, partial(_job, cfg, run, trust), undo)
    except KeyboardInterrupt:
        queued = requeue() if cfg.trainer.get("requeue") else None
        more = "" if queued is None else f"; {queued}"
        raise KeyboardInterrupt(f"interrupted; {how_to_go_on(run)}{more}") from None
    except InterruptedRunError as stop:
        raise UserError(f"{stop}; {how_to_go_on(run)}") from stop
    finally:
        summarise_sweep(run)


def _job(cfg: DictConfig, run: RunDir, trust: list[str]) -> float:
    """One training, or those of a cross-validation."""
    for_spreadsheets(cfg.get("spreadsheet", False))
    if cfg.fold == "all":
        from medcnn.training.cross_validation import cross_validate

        return cross_validate(cfg, run, trust)
    return train_in(cfg, run, trust)


def check_numbers(cfg: DictConfig) -> None:
    """Raise UserError at a value of the config that can't be, such as a number out of range."""
    from medcnn.evaluation.of_tables import check_settings
    from medcnn.jobs.instantiate import plain

    check_values(cfg, "train")
    check_settings(plain(cfg.evaluation))
    if cfg.fold not in (None, "all"):
        check_whole_number("fold", cfg.fold, 0, cfg.folds - 1)


def train_in(cfg: DictConfig, run: RunDir, trust: list[str]) -> float:
    """Train and test in all processes, then write the rest in this one."""
    import pytorch_lightning as pl

    from medcnn.data.checks.problems import problems_table
    from medcnn.data.open_data import in_memory, open_data
    from medcnn.jobs.processes import other_processes
    from medcnn.training.trainer import check_accelerator, device, processes

    check_numbers(cfg)
    check_accelerator("trainer.accelerator", cfg.trainer.accelerator)
    world = processes(cfg.trainer)
    check_last(run)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = open_data(cfg, trust, folder=run.path)  # files are read by one process
    samples = data.samples
    write_csv(run / "problems.csv", problems_table(data, cfg))
    check_unchanged(run, samples)
    if world == 1:  # several share what the disk cache has in memory
        in_memory(samples, cfg.cache.memory)
    _settle_transfer(cfg, run, trust, samples)
    with other_processes(run, world, trust):
        classifier, best = fit_and_test(cfg, run, trust, samples)
    from medcnn.classifier.chosen_on_validation import choose_and_keep
    from medcnn.inference.tables import headline, write_results
    from medcnn.jobs.instantiate import plain
    from medcnn.jobs.notes import note
    from medcnn.report import curves, write_model_card, write_run_page

    how, rule = plain(cfg.evaluation), cfg.evaluation.operating_point
    notes = choose_and_keep(run, classifier, samples, rule)
    metrics = write_results(
        run, samples, classifier, classifier.tested, cfg.aggregate, evaluation=how, notes=notes
    )
    for line in notes:
        note(line)
    curves(run / "metrics.csv", run / "curves.png")
    if cfg.cam.n > 0 and classifier.spatial:
        from medcnn.evidence.of_split import explain_split, interval

        classifier.to(device(cfg.trainer))
        scores = explain_split(classifier, samples, run / "cams", split="test", **cfg.cam)
        write_json(run / "metrics.json", metrics | scores)
        for name, score in scores.items():
            print(f"{name} {interval(score)}, n = {score['n']}")
    write_run_page(run.path)
    write_model_card(run.path)
    print(f"{run.path}: {headline(metrics)}", flush=True)
    return best


def _settle_transfer(cfg: DictConfig, run: RunDir, trust: list[str], samples: "Samples") -> None:
    """Decide what is trained, say why, and keep it in the run's config."""
    from medcnn.training.trainer import processes, set_threads
    from medcnn.training.transfer import settle

    set_threads(cfg.trainer.threads, processes(cfg.trainer))
    line = settle(cfg, samples, trust)
    write_text(run / "config.yaml", OmegaConf.to_yaml(cfg))
    if line is not None:
        print(line, flush=True)


def fit_and_test(
    cfg: DictConfig, run: RunDir, trust: list[str], samples: "Samples"
) -> tuple[Any, float]:
    """Fit, then pass validation and test split through the best checkpoint; in every process.

    Returns:
        The classifier with `tested` filled, and the highest `medcnn.evaluation.score`.
    """
    import pytorch_lightning as pl
    import torch

    from medcnn.classifier.card import (
        check_smallest_batch,
        make_card,
        make_classifier,
        make_data,
        make_training,
    )
    from medcnn.classifier.checkpoint import read_checkpoint
    from medcnn.training.trainer import make_trainer, processes, set_threads

    set_threads(cfg.trainer.threads, processes(cfg.trainer))
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    if cfg.shuffle_labels:
        samples.shuffle_labels(cfg.seed)
    card = make_card(cfg, samples)
    fresh = not run.last.exists()
    classifier = make_classifier(card, trust, fresh=fresh, **make_training(cfg, samples, trust))
    if cfg.cam.n > 0 and classifier.spatial:
        from medcnn.evidence.of_split import check_explainable

        check_explainable(classifier, cfg.cam.method, cfg.cam.stage)
    data = make_data(cfg, samples, trust)
    check_smallest_batch(classifier, samples, cfg.batch_size, processes(cfg.trainer))
    trainer = make_trainer(cfg, run, trust)
    if trainer.is_global_zero:
        write_csv(run / "samples.csv", samples.table, index_label="row")
        precision = str(trainer.precision)
        write_json(run / "environment.json", environment(precision=precision))
        _introduce(run, samples, classifier, precision)
    resume_from = run.last if run.last.exists() else None
    _guarded(trainer.fit, classifier, data, ckpt_path=resume_from, weights_only=True)
    weights = run.best if run.best.exists() else run.last
    classifier.load_state_dict(read_checkpoint(weights)["state_dict"])
    # named, so that Lightning looks for no other
    _guarded(trainer.test, classifier, data, ckpt_path=weights, weights_only=True, verbose=False)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    score = trainer.checkpoint_callback.best_model_score  # type: ignore[union-attr]
    return classifier, float("nan") if score is None else float(score)


def _guarded(step: Any, *args: Any, **options: Any) -> None:
    """Call fit or test; Lightning turns Ctrl-C into SystemExit, and this turns it back."""
    try:
        step(*args, **options)
    except SystemExit as stop:
        raise KeyboardInterrupt from stop


def _introduce(run: RunDir, samples: Any, classifier: Any, precision: str) -> None:
    """Say what is about to be trained, on what, and what its maps will lack."""
    import torch

    from medcnn.data.samples import ALL_SPLITS, HOLDOUT
    from medcnn.evaluation.few_images import validation_lines
    from medcnn.jobs.notes import note, shortened
    from medcnn.nets import Net, coarse_map_warning
    from medcnn.report.figure_files import lacking

    net = classifier.net
    counts = samples.table["split"].value_counts()
    names = [split for split in ALL_SPLITS if split in counts or split != HOLDOUT]
    parts = ", ".join(f"{counts.get(split, 0)} {split}" for split in names)
    size = "×".join(str(side) for side in samples.input_size)
    millions = sum(p.numel() for p in net.parameters()) / 1e6
    print(
        f"data {samples.name}: {parts} images of {size}, classes {shortened(samples.class_names)}"
    )
    if signs := lacking(samples.class_names):
        note(
            f"no font of this machine has {signs[:8]}, which figures show as codes: install one "
            "(such as fonts-noto-cjk)"
        )
    name = classifier.card["config"]["model"].get("name", type(net).__name__)
    threads = f"{torch.get_num_threads()} CPU threads"
    threads += f" (waiting: {os.environ.get('OMP_WAIT_POLICY', 'default')})"
    print(
        f"model {name}: {millions:.2f} million parameters; {precision}, {threads}; "
        f"run directory {run.path}",
        flush=True,
    )
    if isinstance(net, Net) and net.loaded is not None:
        print(f"weights: {net.loaded}", flush=True)
    learning = sum(p.numel() for p in net.parameters() if p.requires_grad)
    if classifier.freezing.trunk_is_fixed:
        how = "augment=none computes their features once"
        if classifier.cache is not None:
            how = "features are computed once"
        print(f"frozen: all but {learning:,} parameters; {how}", flush=True)
    warning = coarse_map_warning(net, samples.input_size) if isinstance(net, Net) else None
    if warning:
        print(f"note: {warning}", flush=True)
    labels = samples.labels[samples.rows("val")]
    for line in validation_lines(labels, classifier.objective.task, samples.class_names):
        note(line)


if __name__ == "__main__":
    cli.main(train, "train")
