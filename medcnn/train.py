"""``python -m medcnn.train``: train, test and look."""

import os
import shlex
import time
from collections.abc import Callable
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from medcnn import cli
from medcnn.checks import check_values
from medcnn.errors import UserError, check_whole_number
from medcnn.files import for_spreadsheets, read_csv, write_csv, write_json, write_text
from medcnn.private import hide_paths, without_paths
from medcnn.progress import Progress
from medcnn.rundir import RunDir, environment

if TYPE_CHECKING:
    from medcnn.data.samples import Samples

# What may change when a run goes on, but for what the learning-rate schedule is laid out over.
RESUMABLE = ("trainer", "callbacks", "logger", "cam")
SCHEDULED = ("trainer.max_epochs", "trainer.limit_train_batches", "trainer.accumulate_grad_batches")


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
    cfg, run, undo = _open_run(cfg)
    for_spreadsheets(cfg.get("spreadsheet", False))
    job = train_in
    if cfg.fold == "all":
        from medcnn.crossval import cross_validate

        job = cross_validate
    try:
        return recorded(run, partial(job, cfg, run, trust), undo)
    finally:
        _summarise_sweep(run)


def recorded(run: RunDir, job: Callable[[], float], undo: Callable[[], None]) -> float:
    """Do a run's job, and keep its status.json true.

    Args:
        run: Where.
        job: What gives the run's best validation figure.
        undo: Called if the job fails.

    Raises:
        KeyboardInterrupt: With a message that says how to go on.
    """
    start = time.perf_counter()
    facts: dict[str, Any] = {"overrides": cli.task_overrides()}
    run.set_status("running", **facts)
    try:
        best = job()
    except KeyboardInterrupt:
        run.set_status("interrupted", seconds=time.perf_counter() - start, **facts)
        raise KeyboardInterrupt(_how_to_go_on(run)) from None
    except Exception as error:
        seconds, text = time.perf_counter() - start, without_paths(" ".join(str(error).split()))
        run.set_status("failed", seconds=seconds, error=text, **facts)
        undo()
        raise
    facts["best"] = best if isfinite(best) else None
    run.set_status("finished", seconds=time.perf_counter() - start, **facts)
    run.let_go()
    return best


def _open_run(cfg: DictConfig) -> tuple[DictConfig, RunDir, Callable[[], None]]:
    """The config to run, its claimed directory, and what puts it back if the run fails."""
    if cfg.resume is not None:
        return _resume(RunDir(cfg.resume))
    run = RunDir(cli.sweep_run_dir() or cfg.paths.run)
    with open_dict(cfg):
        cfg.paths.run = str(run.path)
    OmegaConf.resolve(cfg)
    hide_paths(cfg, cfg.paths.pseudonym_key if cfg.pseudonymise is True else None)
    run.claim(cfg.overwrite)
    write_text(run / "config.yaml", OmegaConf.to_yaml(cfg))
    return cfg, run, run.give_back


def _resume(run: RunDir) -> tuple[DictConfig, RunDir, Callable[[], None]]:
    """The stored config of an unfinished run, with what the command line may change of it."""
    cfg = run.read_config()
    stored = OmegaConf.to_yaml(cfg)
    run.refuse_if_busy()
    if run.finished:
        raise UserError(f"resume={run.path}: this run is finished; see its metrics.json")
    for override in cli.task_overrides():
        key = override.lstrip("+").partition("=")[0]
        if key in ("resume", "trust"):
            continue
        if "." not in key or key.split(".")[0] not in RESUMABLE or key in SCHEDULED:
            raise UserError(
                f"resume={run.path} takes the config of that run; beside it only values of "
                f"{', '.join(RESUMABLE)} can be set, and none that the learning-rate schedule "
                f"depends on, not {key}"
            )
        OmegaConf.update(cfg, key, OverridesParser.create().parse_override(override).value())
    cfg.paths.run = str(run.path)
    write_text(run / "config.yaml", OmegaConf.to_yaml(cfg))  # the other processes read it
    return cfg, run, partial(write_text, run / "config.yaml", stored)


def check_numbers(cfg: DictConfig) -> None:
    """Raise UserError at a value of the config that can't be, such as a number out of range."""
    from medcnn.config import plain
    from medcnn.evaluated import check_settings

    check_values(cfg, "train")
    check_settings(plain(cfg.evaluation))
    if cfg.fold not in (None, "all"):
        check_whole_number("fold", cfg.fold, 0, cfg.folds - 1)


def train_in(cfg: DictConfig, run: RunDir, trust: list[str]) -> float:
    """Train and test in all processes, then write the rest in this one."""
    import pytorch_lightning as pl

    from medcnn.datasets import in_memory, open_data
    from medcnn.distributed import other_processes
    from medcnn.problems import problems_table
    from medcnn.trainer import processes, uses_gpu

    check_numbers(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = open_data(cfg, trust, folder=run.path)  # files are read by one process
    samples = data.samples
    write_csv(run / "problems.csv", problems_table(data, cfg))
    _check_unchanged(run, samples)
    if processes(cfg.trainer) == 1:  # several share what the disk cache has in memory
        in_memory(samples, cfg.cache.memory)
    _settle_transfer(cfg, run, trust, samples)
    with other_processes(run, processes(cfg.trainer), trust):
        classifier, best = fit_and_test(cfg, run, trust, samples)
    from medcnn.choices import choose_and_keep
    from medcnn.config import plain
    from medcnn.notes import note
    from medcnn.report import curves, write_model_card, write_run_page
    from medcnn.results import headline, write_results

    how, rule = plain(cfg.evaluation), cfg.evaluation.operating_point
    with Progress("figures and their intervals"):
        notes = choose_and_keep(run, classifier, samples, rule)
        metrics = write_results(
            run,
            samples,
            classifier,
            classifier.tested,
            cfg.aggregate,
            evaluation=how,
            notes=notes,
        )
    for line in notes:
        note(line)
    curves(run / "metrics.csv", run / "curves.png")
    if cfg.cam.n > 0 and classifier.spatial:
        from medcnn.evidence.of_split import explain_split, interval

        classifier.to("cuda" if uses_gpu(cfg.trainer.accelerator) else "cpu")
        with Progress("maps"):
            scores = explain_split(classifier, samples, run / "cams", split="test", **cfg.cam)
        write_json(run / "metrics.json", metrics | scores)
        for name, score in scores.items():
            print(f"{name} {interval(score)}, n = {score['n']}")
    with Progress("page"):
        write_run_page(run.path)
        write_model_card(run.path)
    print(f"{run.path}: {headline(metrics)}", flush=True)
    return best


def _settle_transfer(cfg: DictConfig, run: RunDir, trust: list[str], samples: "Samples") -> None:
    """Decide what is trained, say why, and keep it in the run's config."""
    from medcnn.trainer import processes, set_threads
    from medcnn.transfer import settle

    set_threads(cfg.trainer.threads, processes(cfg.trainer))
    line = settle(cfg, samples, trust)
    write_text(run / "config.yaml", OmegaConf.to_yaml(cfg))
    if line is not None:
        print(line, flush=True)


def _check_unchanged(run: RunDir, samples: "Samples") -> None:
    """Raise UserError if a run goes on with other data than it began with."""
    path = run / "samples.csv"
    if not (path.exists() and run.last.exists()):
        return
    before = read_csv(path)[["image", "split"]].astype(str)
    now = samples.table[["image", "split"]].astype(str)
    if not before.equals(now):
        raise UserError(
            f"resume={run.path}: the data have changed since this run began (see its samples.csv): "
            "bring them back, or begin anew"
        )


def fit_and_test(
    cfg: DictConfig, run: RunDir, trust: list[str], samples: "Samples"
) -> tuple[Any, float]:
    """Fit, then pass validation and test split through the best checkpoint; in every process.

    Returns:
        The classifier with `tested` filled, and the highest `medcnn.evaluation.score`.
    """
    import pytorch_lightning as pl
    import torch

    from medcnn.assemble import (
        check_smallest_batch,
        make_card,
        make_classifier,
        make_data,
        make_training,
    )
    from medcnn.checkpoint import read_checkpoint
    from medcnn.trainer import make_trainer, processes, set_threads

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
    _guarded(trainer.test, classifier, data, verbose=False)
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
    from medcnn.few import validation_lines
    from medcnn.nets import Net, coarse_map_warning
    from medcnn.notes import note, shortened
    from medcnn.report.fonts import lacking

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
            f"no font of this machine has {signs[:8]}, which figures show as boxes: install one "
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


def _how_to_go_on(run: RunDir) -> str:
    return f"interrupted; go on with: python -m medcnn.train resume={shlex.quote(str(run.path))}"


def _summarise_sweep(run: RunDir) -> None:
    """Bring the summary.csv of a sweep up to date."""
    if cli.in_sweep():
        from medcnn.report import write_summary

        write_summary(Path(run.path).parent)


if __name__ == "__main__":
    cli.main(train, "train")
