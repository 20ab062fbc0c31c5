"""Jobs on an engine, to their ends."""

from collections.abc import Callable, Sequence
from contextlib import closing
from importlib.util import find_spec
from typing import Any

from medcnn.errors import UserError
from medcnn.jobs.engines.child import STOPPED
from medcnn.jobs.engines.job import LOST, End, Job
from medcnn.jobs.processes import signal_name
from medcnn.jobs.settings.groups import Engine
from medcnn.jobs.terminal import say

PACKAGES = {"ray": "ray", "slurm": "submitit"}  # that an engine needs


def check_engine(name: str) -> None:
    """Raise UserError if the package of an engine isn't installed, before anything is written."""
    package = PACKAGES.get(name)
    if package is not None and find_spec(package) is None:
        raise UserError(f'engine={name} needs {package}: pip install "medcnn[{name}]"')


def run_jobs(
    jobs: Sequence[Job], settings: Engine, ended: Callable[[End], object] = lambda end: None
) -> list[End]:
    """Run jobs, say of each in one line how it ended, and return the ends of those that failed.

    Args:
        jobs: One or more.
        settings: Of the engine, which isn't the local one.
        ended: Called with the end of each, before its line.

    Raises:
        KeyboardInterrupt: All that still ran was stopped.
        UserError: The engine can't be used.
    """
    where = jobs[0].log.parent
    print(f"{len(jobs)} jobs by {settings.name}; what they print goes to {where}", flush=True)
    failed = []
    with closing(_engine(settings.name)(jobs, settings)) as ends:
        for number, end in enumerate(ends, 1):
            ended(end)
            if end.code:
                failed.append(end)
                say(f"{end.name}: {reason(end)}")
            else:
                more = f", started again {end.again} time(s)" if end.again else ""
                print(f"{end.name}: done ({number} of {len(jobs)}){more}", flush=True)
    return failed


def reason(end: End) -> str:
    """Return what a job has failed of.

    >>> reason(End("a", 2, "there is no key x")), reason(End("a", 1)), reason(End("a", -9))
    ('there is no key x', 'failed with exit code 1', 'its process was ended by SIGKILL')
    """
    if end.code == LOST:
        return "it was lost with its machine, or taken away from it, and is given up"
    if end.code == STOPPED:
        return "it was interrupted"
    if end.code < 0:
        return f"its process was ended by {signal_name(-end.code)}"
    return end.said or f"failed with exit code {end.code}"


def _engine(name: str) -> Callable[[Sequence[Job], Engine], Any]:
    """Return what runs jobs, and yields their ends as they come; closed, it stops the others."""
    if name == "joblib":
        from medcnn.jobs.engines.by_joblib import by_joblib

        return by_joblib
    if name == "slurm":
        from medcnn.jobs.engines.by_slurm import by_slurm

        return by_slurm
    from medcnn.jobs.engines.by_ray import by_ray

    return by_ray
