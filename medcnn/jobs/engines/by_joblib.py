"""Jobs on the cores of this machine, several at once, by joblib."""

from collections.abc import Iterator, Sequence

from joblib import Parallel, cpu_count, delayed

from medcnn.jobs.engines.job import Children, End, Job, run_job
from medcnn.jobs.settings.groups import Engine


def by_joblib(jobs: Sequence[Job], settings: Engine) -> Iterator[End]:
    """Run jobs, each in a process of its own with its share of the cores; yields their ends."""
    cores = cpu_count()  # that this process may use
    at_once = min(settings.workers or cores, len(jobs))
    threads, children = max(1, cores // at_once), Children()
    run = delayed(run_job)
    tasks = (run(job, threads, settings.retries, children) for job in jobs)
    # a thread waits for each process; it has nothing else to do
    pool = Parallel(at_once, backend="threading", return_as="generator_unordered")
    try:
        yield from pool(tasks)
    except BaseException:  # Ctrl-C, among others
        children.stop()
        raise
