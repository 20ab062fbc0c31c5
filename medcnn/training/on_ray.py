"""A training whose processes Ray Train starts."""

from math import nan

from medcnn.errors import InterruptedRunError, UserError
from medcnn.jobs import command_line as cli
from medcnn.jobs.engines.arguments import is_of
from medcnn.jobs.on_ray import train_on_ray
from medcnn.jobs.rundir import RunDir, how_to_go_on
from medcnn.jobs.settings.commands import Train
from medcnn.training.run import left_by_a_sweep, summarise_sweep


def run_on_ray(cfg: Train) -> float:
    """Have Ray's processes train; return the best validation figure.

    Raises:
        KeyboardInterrupt: With a message that says how to go on.
        UserError: See `medcnn.jobs.on_ray.train_on_ray`.
    """
    run, given = RunDir(cfg.resume or cfg.paths.run), cfg.trainer
    way = (
        f"{how_to_go_on(run)} trainer.launcher=ray trainer.devices={given.devices} "
        f"trainer.num_nodes={given.num_nodes} trainer.accelerator={given.accelerator}"
    )
    overrides = cli.task_overrides()
    if left_by_a_sweep(cfg, run) and run.trained:
        trust = [one for one in overrides if is_of(one, "trust")]
        overrides = [f"resume='{run.path.absolute()}'", *trust]
    try:
        train_on_ray(given, run.path, overrides)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; {way}") from None
    except InterruptedRunError as stop:
        raise UserError(f"{stop}; {way}") from stop
    finally:
        summarise_sweep(run)
    best = run.status.get("best")
    return nan if best is None else float(best)
