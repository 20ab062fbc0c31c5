"""Jobs as batch jobs of SLURM, by submitit."""

import time
from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from medcnn.errors import UserError
from medcnn.jobs.engines.job import LOST, End, Job, run_job
from medcnn.jobs.settings.groups import Engine
from medcnn.jobs.settings.values import parse_bytes, parse_duration

LOOK = 0.5  # seconds between two looks at the jobs; submitit asks SLURM itself once a minute
FAREWELL = 90  # seconds before a job's time is up, in which it stops and goes into the queue again


class Task:
    """What submitit calls on a machine of the cluster, and again after the job's time was up."""

    def __init__(self, job: Job, threads: int, retries: int) -> None:
        self.job, self.threads, self.retries = job, threads, retries

    def __call__(self) -> End:
        """Run the job."""
        return run_job(self.job, self.threads, self.retries)

    def checkpoint(self) -> Any:
        """Return what is submitted when the time is up: the same, which goes on with its run."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def by_slurm(jobs: Sequence[Job], settings: Engine) -> Iterator[End]:
    """Submit jobs, those that are lost again, and yield the ends of all as they come.

    Raises:
        UserError: There is no SLURM, or it refuses a job.
    """
    executor = _executor(jobs[0].log.parent / "submitit", settings)
    waiting = [(job, 0) for job in jobs]  # each with how often it was lost
    running: list[tuple[Job, int, Any]] = []
    try:
        while waiting or running:
            while waiting and len(running) < (settings.workers or len(jobs)):
                job, lost = waiting.pop(0)
                running.append((job, lost, _submit(executor, job, settings)))
            for one in [one for one in running if one[2].done()]:
                running.remove(one)
                job, lost, task = one
                end = _end(job, task)
                if end.code != LOST or lost == settings.retries or _taken_away(task):
                    yield end._replace(again=end.again + lost)
                    continue
                print(f"{job.name}: lost, submitted again", flush=True)
                waiting.insert(0, (job, lost + 1))
            time.sleep(LOOK if running else 0)
    except BaseException:  # Ctrl-C, among others
        for _, _, task in running:
            task.cancel(check=False)
        raise


def _executor(folder: Path, settings: Engine) -> Any:
    """Return what submits jobs; raise UserError where it can't."""
    from submitit import AutoExecutor

    minutes = ceil(parse_duration("engine.time", settings.time) / 60)
    requeues = {f"{name}_max_num_timeout": settings.requeues for name in ("slurm", "local")}
    try:
        executor = AutoExecutor(folder, cluster=settings.cluster, **requeues)
    except RuntimeError as error:  # no srun
        raise UserError(
            "engine=slurm: this machine has no SLURM (no srun); engine.cluster=local does without"
        ) from error
    executor.update_parameters(
        name="medcnn",
        timeout_min=minutes,
        cpus_per_task=int(settings.cpus),
        gpus_per_node=int(settings.gpus) or None,
        mem_gb=None if settings.memory is None else _gigabytes(settings.memory),
        slurm_partition=settings.partition,
        slurm_signal_delay_s=FAREWELL,
        slurm_additional_parameters=settings.options or None,
    )
    return executor


def _gigabytes(memory: str | float) -> float:
    return parse_bytes("engine.memory", memory) / 10**9


def _submit(executor: Any, job: Job, settings: Engine) -> Any:
    from submitit.core.utils import FailedJobError

    try:
        return executor.submit(Task(job, int(settings.cpus), settings.retries))
    except FailedJobError as error:  # what sbatch has said
        text = " ".join(str(error).split())[:300]
        raise UserError(f"engine=slurm: {job.name} can't be submitted: {text}") from error


def _end(job: Job, task: Any) -> End:
    """Return how a job of SLURM has ended that is over."""
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        end: End = task.result()
    except FailedJobError as error:
        return End(job.name, 1, str(error).strip().splitlines()[-1])
    except UncompletedJobError:  # of a machine that is gone, or of one who cancelled it
        return End(job.name, LOST)
    return end


def _taken_away(task: Any) -> bool:
    """Return whether somebody has cancelled a job."""
    return str(task.state).startswith("CANCELLED")
