"""One fold of a cross-validation, trained in this process or in one of its own."""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial

from omegaconf.errors import OmegaConfBaseException

from medcnn.errors import InterruptedRunError, UserError, system_error
from medcnn.jobs.atomic_files import for_spreadsheets, write_text
from medcnn.jobs.command_line import explain_error, quiet
from medcnn.jobs.hydra_guard import guard_environment
from medcnn.jobs.interruption import interruptible
from medcnn.jobs.private import with_pseudonyms
from medcnn.jobs.rundir import RunDir
from medcnn.jobs.settings.commands import Train
from medcnn.jobs.settings.read import read_stored
from medcnn.jobs.terminal import say, terminal
from medcnn.training.one_run import train_in
from medcnn.training.run import recorded

STOPPED = 3  # exit code: something outside has stopped the fold, which can go on

Before = Callable[[Train], None]


def begin(cfg: Train, part: RunDir, fold: int, before: Before) -> Train:
    """Return the settings of a fold; its run directory is taken, and has them in config.yaml.

    Args:
        cfg: Of the cross-validation.
        part: Of the fold, which isn't finished.
        fold: Its number.
        before: Called with the settings; it may change them.
    """
    own = cfg.model_copy(deep=True, update={"fold": fold, "resume": None})
    own.paths.run = str(part.path)
    before(own)
    if part.last.exists():
        part.go_on()
    else:
        part.claim(overwrite=True)
    write_text(part / "config.yaml", own.yaml())
    return own


def train(cfg: Train, part: RunDir, trust: list[str]) -> None:
    """Train and test a fold that has begun, and keep its status.json true."""
    begun_with = RunDir(part.path.parent).facts.get("overrides")
    recorded(part, partial(train_in, cfg, part, trust), part.give_back, begun_with)


def main() -> None:
    """``python -m medcnn.training.fold <run directory> <trusted classes> <command line …>``.

    The classes are a list in JSON; the command line is that of the cross-validation, which
    environment.json tells. Once stdin is closed, as by the end of the process that has started this
    one, the training stops as it does at SIGTERM.

    Exit codes: those of any command, and `STOPPED`. The last line says what was wrong, without
    hidden paths, as the cross-validation writes it to its status.json.
    """
    _, path, trust, *sys.argv = sys.argv
    quiet()
    guard_environment([])
    code = 0
    with terminal():
        code = _exit_code(RunDir(path), json.loads(trust))
    sys.exit(code)


def _exit_code(part: RunDir, trust: list[str]) -> int:
    try:
        with interruptible():
            threading.Thread(target=_stop_once_stdin_is_closed, daemon=True).start()
            cfg = read_stored(Train, part.read_config(), part / "config.yaml")
            for_spreadsheets(cfg.spreadsheet)
            train(cfg, part, trust)
    except KeyboardInterrupt:
        return 130
    except InterruptedRunError as stop:
        return say(with_pseudonyms(str(stop)), STOPPED)
    except UserError as error:
        return say(with_pseudonyms(str(error)), 2)
    except OmegaConfBaseException as error:
        return say(explain_error(error, ""), 2)
    except OSError as error:
        if (line := system_error(error)) is None:
            raise
        return say(with_pseudonyms(str(line)), 2)
    return 0


def _stop_once_stdin_is_closed() -> None:
    """Wait for that, and send SIGTERM to the thread that trains."""
    os.read(sys.stdin.fileno(), 1)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


if __name__ == "__main__":
    main()
