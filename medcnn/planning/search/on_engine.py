"""The workers of a search on an engine."""

import shutil
from pathlib import Path

from medcnn.errors import UserError
from medcnn.jobs.engines.arguments import arguments_of_job
from medcnn.jobs.engines.job import Job
from medcnn.jobs.engines.run import check_engine, run_jobs
from medcnn.jobs.settings.commands import Search
from medcnn.jobs.settings.groups import Engine
from medcnn.planning.search.begin import begin
from medcnn.planning.search.worker import how_to_go_on


def start_workers(cfg: Search, trust: list[str]) -> None:
    """Begin a search here, and have an engine run its workers, each by the same command.

    Raises:
        KeyboardInterrupt: With a message that says how to go on.
        UserError: Settings with which no trial could begin; or workers have failed.
    """
    check_engine(cfg.engine.name)
    count = _count(cfg.engine)
    begin(cfg, trust)
    folder = Path(cfg.output).absolute()
    arguments = arguments_of_job(f"output={folder}", without=("output",))
    jobs = [
        Job(f"worker {k}", "medcnn.search", arguments, folder / "logs" / f"worker-{k}.log")
        for k in range(count)
    ]
    try:
        failed = run_jobs(jobs, cfg.engine)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; {how_to_go_on(folder)}") from None
    finally:
        if cfg.pseudonymise:  # they tell where the data lie
            shutil.rmtree(folder / "logs", ignore_errors=True)
    if failed:
        where = "" if cfg.pseudonymise else f"; see {jobs[0].log.parent}"
        raise UserError(f"{len(failed)} of {count} worker(s) failed{where}")


def _count(engine: Engine) -> int:
    """Return the number of workers."""
    if engine.workers is not None:
        return engine.workers
    if engine.name != "joblib":
        raise UserError("engine.workers=null: say how many workers the search is to have")
    from joblib import cpu_count

    return int(cpu_count())
