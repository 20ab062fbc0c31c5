"""Jobs on a Ray cluster."""

from collections.abc import Iterator, Sequence
from typing import Any

from medcnn.jobs.engines.job import LOST, End, Job, run_job
from medcnn.jobs.engines.ray_cluster import join_cluster
from medcnn.jobs.notes import note
from medcnn.jobs.settings.groups import Engine

LOOK = 1  # seconds between two looks at whether a signal came
FAREWELL = 60  # seconds for jobs to stop


def by_ray(jobs: Sequence[Job], settings: Engine) -> Iterator[End]:
    """Run jobs wherever the cluster has room; yields their ends as they come.

    Ray itself starts again what was lost with a machine.

    Raises:
        UserError: There is no such cluster.
    """
    import ray

    ours = _join(ray, settings)
    needs = {"num_cpus": settings.cpus, "num_gpus": settings.gpus}
    run = ray.remote(max_retries=settings.retries, **needs)(run_job)
    threads = max(1, int(settings.cpus))
    waiting: dict[Any, Job] = {}
    try:
        for job in jobs:
            task = run.options(name=job.name).remote(job, threads, settings.retries)
            waiting[task] = job
        while waiting:
            ready, _ = ray.wait(list(waiting), timeout=LOOK)
            for task in ready:
                yield _end(ray, task, waiting.pop(task))
    except BaseException:  # Ctrl-C, among others
        for task in waiting:
            ray.cancel(task)
        if waiting:
            ray.wait(list(waiting), num_returns=len(waiting), timeout=FAREWELL)
        raise
    finally:
        if ours:
            ray.shutdown()


def _join(ray: Any, settings: Engine) -> bool:
    """Join the cluster; return whether this process hadn't before."""
    ours = join_cluster(ray, f"engine.address={settings.address}", settings.address)
    there = [one["Resources"] for one in ray.nodes() if one["Alive"]]
    if not any(
        one.get("CPU", 0) >= settings.cpus and one.get("GPU", 0) >= settings.gpus for one in there
    ):
        note(
            f"engine=ray: no machine of the cluster has {settings.cpus} core(s) and "
            f"{settings.gpus} GPU(s), so the jobs wait for one that has"
        )
    return ours


def _end(ray: Any, task: Any, job: Job) -> End:
    """Return how a job has ended that is over."""
    try:
        end: End = ray.get(task)
    except ray.exceptions.RayTaskError as error:  # raised by medcnn itself
        return End(job.name, 1, str(error).strip().splitlines()[-1])
    except ray.exceptions.RayError:  # of a machine or a process that is gone
        return End(job.name, LOST)
    return end
