"""``python -m medcnn.plan``: how a training would configure itself, and why."""

from pathlib import Path

from medcnn.errors import UserError
from medcnn.jobs import command_line as cli
from medcnn.jobs.atomic_files import check_folder
from medcnn.jobs.by_hand import set_by_hand
from medcnn.jobs.settings import commands
from medcnn.jobs.settings.values import parse_duration


def plan(cfg: commands.Plan, trust: list[str]) -> None:
    """Print the choices with their reasons, and write them as an experiment config.

    Args:
        cfg: See conf/plan.yaml.
        trust: Names that a ``_target_`` may hold beside medcnn's own.

    Raises:
        UserError: Data or a budget with which no training could be planned.
    """
    from medcnn.planning.auto.budget import DEFAULT, Budget
    from medcnn.planning.auto.plan import make_plan

    if cfg.plan is None or cfg.resume is not None:
        raise UserError("medcnn.plan plans a training that hasn't begun: leave out plan=, resume=")
    file = Path(cfg.output)
    check_folder(f"output={file}", file.parent)
    budget = Budget(parse_duration("budget", cfg.budget or DEFAULT))
    made = make_plan(cfg, set_by_hand(), budget, trust)
    for line in made.table():
        print(line)
    made.write(file)
    print(f"{file}: train so with experiment={file}", flush=True)


if __name__ == "__main__":
    cli.main(plan, "plan")
