"""One of the other processes of a multi-process run."""

import os
import sys
import threading

from medcnn.errors import UserError
from medcnn.jobs.hydra_guard import guard_environment
from medcnn.jobs.private import with_pseudonyms
from medcnn.jobs.processes import GONE
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import Train
from medcnn.jobs.settings.read import read_stored
from medcnn.jobs.terminal import say


def _end_with_the_first() -> None:
    """Wait until the first process is gone, and end this one."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(GONE)


def main() -> None:
    """``python -m medcnn.training.worker <run directory> <split tested> [trusted class …]``."""
    from medcnn.data.open_data import open_data
    from medcnn.training.fit import fit_and_test

    run, split, trust = RunDir(sys.argv[1]), sys.argv[2], sys.argv[3:]
    guard_environment([])
    cfg = read_stored(Train, run.read_config(), run / "config.yaml")
    try:  # what this prints goes to a file of the run
        data = open_data(cfg, trust, checked=False, quiet=True)
        fit_and_test(cfg, run, trust, data.samples, split=split)
    except UserError as error:
        sys.exit(say(with_pseudonyms(str(error)), 2))


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    main()
