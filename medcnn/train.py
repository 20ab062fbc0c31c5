"""``python -m medcnn.train``: train, test and look."""

from functools import partial

from medcnn.errors import InterruptedRunError, UserError
from medcnn.jobs import command_line as cli
from medcnn.jobs.atomic_files import for_spreadsheets
from medcnn.jobs.interruption import requeue
from medcnn.jobs.launched import join_launcher
from medcnn.jobs.rundir import RunDir, how_to_go_on, how_to_go_on_with_sweep
from medcnn.jobs.settings.commands import Train
from medcnn.training.run import done_before, open_run, recorded, summarise_sweep
from medcnn.training.sweep import leave_to_engine, run_what_was_left


def train(cfg: Train, trust: list[str]) -> float:
    """Train, test the best checkpoint once, and write everything to the run directory.

    Returns:
        The highest validation AUROC (see `medcnn.evaluation.score`), which a sweep maximises.

    Raises:
        KeyboardInterrupt: With a message that says how to go on.
    """
    if cfg.budget is not None and cfg.plan is None:
        raise UserError(f"budget={cfg.budget}: the time of plan=auto; add that, or leave it out")
    if cfg.perf is not None and cfg.plan is not None:
        raise UserError(
            "perf=auto goes without plan=auto, which measures in the settings as they are"
        )
    if cfg.engine.name != "local" and cfg.trainer.launcher is not None:
        raise UserError(f"engine={cfg.engine.name} starts whole trainings; leave trainer=ray out")
    if (best := done_before(cfg)) is not None:
        return best
    if cfg.engine.name != "local":
        return leave_to_engine(cfg)
    if cfg.trainer.launcher == "ray":
        from medcnn.training.on_ray import run_on_ray

        return run_on_ray(cfg)
    cfg, run, undo = open_run(cfg)
    try:
        return recorded(run, partial(_job, cfg, run, trust), undo)
    except KeyboardInterrupt:
        queued = requeue() if cfg.trainer.requeue else None
        more = "" if queued is None else f"; {queued}"
        way = how_to_go_on_with_sweep(run) if cli.in_sweep() else how_to_go_on(run)
        raise KeyboardInterrupt(f"interrupted; {way}{more}") from None
    except InterruptedRunError as stop:
        raise UserError(f"{stop}; {how_to_go_on(run)}") from stop
    finally:
        summarise_sweep(run)


def _job(cfg: Train, run: RunDir, trust: list[str]) -> float:
    for_spreadsheets(cfg.spreadsheet)
    if cfg.plan is not None:
        from medcnn.planning.auto.run import carry_out

        return carry_out(cfg, run, trust)
    if cfg.fold == "all":
        from medcnn.training.cross_validation import cross_validate

        return cross_validate(cfg, run, trust)
    from medcnn.training.one_run import train_in

    return train_in(cfg, run, trust)


if __name__ == "__main__":
    cli.main(train, "train", begin=join_launcher, end=run_what_was_left)
