"""A run from its opening to its last status, and its resumption after an interruption."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from medcnn.errors import InterruptedRunError, PrunedRunError, UserError, disk_full, reason
from medcnn.jobs import command_line as cli
from medcnn.jobs.atomic_files import read_csv, write_text
from medcnn.jobs.engines.arguments import is_of
from medcnn.jobs.launched import take_over
from medcnn.jobs.private import hide_paths, with_pseudonyms
from medcnn.jobs.rundir import RunDir, place_of
from medcnn.jobs.settings.commands import Train
from medcnn.jobs.settings.read import read_stored
from medcnn.jobs.terminal import say

if TYPE_CHECKING:
    from medcnn.data.samples import Samples

# What may change when a run goes on, but for what the learning-rate schedule is laid out over.
RESUMABLE = ("trainer", "callbacks", "logger", "cam")
NOT_OF_THE_JOB = ("paths.run", "resume", "overwrite", "trust", "trainer.launcher", "engine")
SCHEDULED = ("trainer.max_epochs", "trainer.limit_train_batches", "trainer.accumulate_grad_batches")


def open_run(cfg: Train) -> tuple[Train, RunDir, Callable[[], None]]:
    """Return a run's settings, its claimed directory, and what puts that back if the run fails."""
    if cfg.resume is not None:
        return _resume(RunDir(cfg.resume), cli.task_overrides(), cfg)
    take_over(cfg.trainer)
    run = RunDir(cfg.paths.run)
    if left_by_a_sweep(cfg, run) and run.trained:
        return _resume(run, [], cfg)
    hide_paths(cfg, cfg.paths.pseudonym_key if cfg.pseudonymise else None)
    text = cfg.yaml()
    run.claim(cfg.overwrite)
    try:
        write_text(run / "config.yaml", text)
    except BaseException:  # a signal, among others
        run.set_status("failed", error="ended before it began")
        run.give_back()
        raise
    return cfg, run, run.give_back


def done_before(cfg: Train) -> float | None:
    """Return the best figure of a job of a sweep that an earlier command finished; else None."""
    run = RunDir(cfg.paths.run)
    if not (left_by_a_sweep(cfg, run) and run.finished):
        return None
    print(f"{run.path}: finished before", flush=True)
    best = run.facts.get("best")
    return float("nan") if best is None else float(best)


def left_by_a_sweep(cfg: Train, run: RunDir) -> bool:
    """Return whether a folder has this very job of a sweep, of an earlier command."""
    if not cli.in_sweep() or cfg.overwrite:
        return False
    if cfg.pseudonymise:  # then status.json has no paths of data
        hide_paths(cfg.model_copy(deep=True), cfg.paths.pseudonym_key)
    before, now = (
        {one for one in overrides if not is_of(one, *NOT_OF_THE_JOB)}
        for overrides in (run.facts.get("overrides", []), cli.task_overrides())
    )
    return before == now


def _resume(
    run: RunDir, overrides: Sequence[str], given: Train
) -> tuple[Train, RunDir, Callable[[], None]]:
    """Return the stored settings of an unfinished run, with what overrides may change of them.

    `given` are the settings that they make by themselves.
    """
    try:
        config = run.read_config()
    except UserError as error:
        raise UserError(f"resume={error}") from error
    stored = OmegaConf.to_yaml(config)
    if run.finished:
        raise UserError(f"resume={place_of(run)}: this run is finished; see its metrics.json")
    for override in overrides:
        key = override.lstrip("+").partition("=")[0]
        if is_of(key, "resume", "trust", "engine"):
            continue
        if key == "logger":  # the group, as where the server of a tracker is gone
            config.logger = OmegaConf.create(given.plain()["logger"])
            continue
        of_group = "." in key and key.split(".")[0] in RESUMABLE and key not in SCHEDULED
        if not of_group and key != "folds_at_once":
            raise UserError(
                f"resume={place_of(run)} takes the config of that run; beside it only "
                f"folds_at_once and values of {', '.join(RESUMABLE)} can be set, and none that "
                f"the learning-rate schedule depends on, not {key}"
            )
        OmegaConf.update(config, key, OverridesParser.create().parse_override(override).value())
    cfg = read_stored(Train, config, run / "config.yaml")
    cfg.paths.run = str(run.path)
    take_over(cfg.trainer)
    text = cfg.yaml()
    run.go_on()
    try:
        write_text(run / "config.yaml", text)  # the other processes read it
    except BaseException:
        run.set_status("interrupted", **run.facts)
        raise
    return cfg, run, partial(write_text, run / "config.yaml", stored)


def recorded(
    run: RunDir,
    job: Callable[[], float],
    undo: Callable[[], None],
    overrides: list[str] | None = None,
) -> float:
    """Do a run's job, and keep its status.json true.

    Args:
        run: Where.
        job: What gives the run's best validation figure.
        undo: Called if the job fails.
        overrides: That the run began with; None for those of the command line.

    Raises:
        InterruptedRunError: The disk is full, or another process of the run was ended.
        PrunedRunError: The job's own.
    """
    start = time.perf_counter() - run.facts.get("seconds", 0)
    facts = {"overrides": _overrides(run) if overrides is None else overrides}

    def note(state: str, **further: Any) -> None:
        run.set_status(state, seconds=time.perf_counter() - start, **further, **facts)

    try:
        run.set_status("running", **facts)
        best = job()
    except KeyboardInterrupt:
        note("interrupted")
        raise
    except PrunedRunError as stop:
        note("pruned", reason=str(stop))
        raise
    except Exception as error:
        if isinstance(error, OSError) and disk_full(error):
            error = InterruptedRunError(f"{error.filename or run.path}: {reason(error)}")
        text = with_pseudonyms(" ".join(str(error).split()))
        if isinstance(error, InterruptedRunError):
            with suppress(OSError):  # then it says "running", of a process that is gone
                note("interrupted", error=text)
            raise error from error.__cause__
        note("failed", error=text)
        undo()
        raise
    note("finished", best=best if isfinite(best) else None)
    run.let_go()
    return best


def _overrides(run: RunDir) -> list[str]:
    """Return the overrides of a run: of the command that began it, and those that resumed it."""
    given = [*run.facts.get("overrides", []), *cli.task_overrides()]
    by_key = {one.lstrip("+").partition("=")[0]: one for one in given}
    return [one for key, one in by_key.items() if not is_of(key, "resume", "engine")]


def check_last(run: RunDir) -> None:
    """Raise UserError if the checkpoint that a run would go on from can't be used."""
    from medcnn.classifier.checkpoint import read_checkpoint

    if not run.last.exists():
        return
    run.last.open("rb").close()  # no permission is another matter
    try:
        read_checkpoint(run.last)
    except UserError as error:
        use = f"{run.best.name} can be used: python -m medcnn.evaluate checkpoint={run.best}"
        best = use if run.best.exists() else "there is no best.ckpt"
        raise UserError(
            f"{run.last} is damaged, so that the training can't go on; {best}; overwrite=true "
            "begins anew"
        ) from error


def check_unchanged(run: RunDir, samples: "Samples") -> None:
    """Raise UserError if a run goes on with other data than it began with."""
    path = run / "samples.csv"
    if not (path.exists() and run.last.exists()):
        return
    before = read_csv(path)[["image", "split"]].astype(str)
    now = samples.table[["image", "split"]].astype(str)
    if not before.equals(now):
        raise UserError(
            f"resume={place_of(run)}: the data have changed since this run began "
            "(see its samples.csv): bring them back, or begin anew"
        )


def summarise_sweep(run: RunDir) -> None:
    """Bring the summary.csv of a sweep up to date, also where a job of it went on by itself."""
    sweep = Path(run.path).parent
    if cli.in_sweep() or (sweep / "summary.csv").exists():
        write_summary_of(sweep)


def write_summary_of(sweep: Path) -> None:
    """Write the summary.csv of a sweep, or say why it can't be."""
    from medcnn.report.comparison.summary_csv import write_summary

    try:
        write_summary(sweep)
    except OSError as error:  # not to stand before what the run has to say
        say(f"{sweep / 'summary.csv'}: {reason(error)}")
