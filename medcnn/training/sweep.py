"""The jobs of a sweep that an engine runs: each a training by itself, in a folder of the sweep."""

import shutil
from math import nan
from pathlib import Path

from medcnn.errors import UserError
from medcnn.jobs import command_line as cli
from medcnn.jobs import launched
from medcnn.jobs.engines.arguments import arguments_of_job
from medcnn.jobs.engines.job import End, Job
from medcnn.jobs.engines.run import check_engine, run_jobs
from medcnn.jobs.rundir import RunDir, how_to_go_on_with_sweep
from medcnn.jobs.settings.commands import Train
from medcnn.training.run import left_by_a_sweep, write_summary_of

_left: list[tuple[Train, Job]] = []  # to the engine, by the command at hand


def leave_to_engine(cfg: Train) -> float:
    """Note a job of a sweep, which `run_what_was_left` runs.

    Returns:
        nan, as its figure isn't known yet.

    Raises:
        UserError: It is no job of a sweep, or one that can't be.
    """
    engine = f"engine={cfg.engine.name}"
    if not cli.in_sweep():
        raise UserError(
            f"{engine} runs the jobs of a sweep (-m) and the workers of a search; leave it out"
        )
    check_engine(cfg.engine.name)
    if launched.others is not None:
        raise UserError(f"{engine} starts the jobs by itself: leave torchrun or srun out")
    if _left and _left[0][0].engine != cfg.engine:
        raise UserError("engine: all jobs of a sweep have the same one")
    run = RunDir(Path(cfg.paths.run).absolute())
    if any(job.run == run.path for _, job in _left):
        raise UserError(f"paths.run={run.path}: an earlier job of this sweep writes there")
    own = (f"paths.run={run.path}",)
    taken = any(job.name == run.path.name for _, job in _left)
    job = Job(
        name=f"{run.path.parent.name}/{run.path.name}" if taken else run.path.name,
        module="medcnn.train",
        arguments=arguments_of_job(*own, without=("paths.run", "resume")),
        log=run.path.parent / "logs" / f"{run.path.name}.log",
        run=run.path,
        there={} if left_by_a_sweep(cfg, run) else run.status,
    )
    _left.append((cfg, job))
    return nan


def run_what_was_left() -> int:
    """Run the jobs that were left to the engine; return how many have failed.

    Raises:
        KeyboardInterrupt: With a message that says how to go on.
        UserError: The engine can't be used.
    """
    if not _left:
        return 0
    cfg, jobs = _left[0][0], [job for _, job in _left]
    _left.clear()
    folders = {job.log.parent.parent for job in jobs}
    for folder in folders:
        write_summary_of(folder)  # which each run then brings up to date

    def ended(end: End) -> None:
        for job in jobs:
            if job.name == end.name:
                _note_end(job, end)

    try:
        return len(run_jobs(jobs, cfg.engine, ended))
    except KeyboardInterrupt:
        way = how_to_go_on_with_sweep(RunDir(jobs[0].run or ""))
        raise KeyboardInterrupt(f"interrupted; {way}") from None
    finally:
        for folder in folders:
            write_summary_of(folder)
            if cfg.pseudonymise:  # they tell where the data lie
                shutil.rmtree(folder / "logs", ignore_errors=True)


def _note_end(job: Job, end: End) -> None:
    """Have the status of a run that was lost say so, and bring the summary up to date."""
    assert job.run is not None
    run = RunDir(job.run)
    if end.code < 0 and run.status.get("state") == "running":
        run.set_status("interrupted", **{**run.facts, "error": "its process was lost"})
    write_summary_of(job.run.parent)
