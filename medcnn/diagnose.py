"""``python -m medcnn.diagnose``: whether a training can work, before hours go into it."""

import sys
from pathlib import Path

from medcnn.errors import UserError
from medcnn.jobs import command_line as cli
from medcnn.jobs.atomic_files import check_folder
from medcnn.jobs.claims import alone_in
from medcnn.jobs.settings.commands import Diagnose


def diagnose(cfg: Diagnose, trust: list[str]) -> bool:
    """Do all checks of a training; gives back whether none has failed.

    The folder ``output`` then holds ``diagnosis.json``, and ``diagnosis.html`` with pictures.

    Args:
        cfg: See conf/diagnose.yaml.
        trust: Names that a ``_target_`` may hold beside medcnn's own.

    Raises:
        UserError: Settings or data with which no training could begin.
    """
    if cfg.fold == "all":
        raise UserError("fold=all: a diagnosis is of one fold, such as fold=0")
    if cfg.resume is not None:
        raise UserError("resume=…: a diagnosis is of a training that hasn't begun; leave it out")
    folder = Path(cfg.output)
    check_folder(f"output={folder}", folder)
    with alone_in(folder):
        from medcnn.training.diagnosis.command import diagnose_in

        return diagnose_in(cfg, folder, trust)


def main() -> None:
    """Do as the command line says; exit with 1 if a check has failed."""
    passed: list[bool] = []
    cli.main(lambda cfg, trust: passed.append(diagnose(cfg, trust)), "diagnose")
    if not all(passed):
        sys.exit(1)


if __name__ == "__main__":
    main()
