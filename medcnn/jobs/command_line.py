"""From the command line to a task, and back: paths, trust, one-line errors, exit codes."""

import os
import re
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from medcnn.errors import UserError, system_error
from medcnn.jobs.arguments import (
    check_options,
    full_key,
    places_of_jobs,
    quote_text,
    recipe_file,
)
from medcnn.jobs.by_address import on_the_disk
from medcnn.jobs.hydra_guard import guard_environment, guarded_loader
from medcnn.jobs.instantiate import conf_dir
from medcnn.jobs.interruption import interruptible
from medcnn.jobs.lacking import lacking, nearest
from medcnn.jobs.launched import refuse_launcher
from medcnn.jobs.private import with_pseudonyms
from medcnn.jobs.settings.read import no_such_key, read
from medcnn.jobs.terminal import nobody_reads_on, say, terminal

COMMAND_LINE_ONLY = ("trust", "overwrite", "resume")  # what runs, replaces or changes something
Task = Callable[[Any, list[str]], Any]


def main(
    task: Task,
    config_name: str,
    begin: Callable[[], None] = refuse_launcher,
    end: Callable[[], int] = lambda: 0,
) -> None:
    """Run a task with the settings of conf/<config_name>.yaml and the command line, and exit.

    The task is called with these and the names that the command line trusts; `begin` before the
    command line is looked at; `end` after the last job, and gives how many of a sweep failed in it.

    Exit codes: 0 done, 1 a fault of medcnn, 2 something that the user can put right (one line on
    stderr), 130 interrupted.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra's errors reach us
    sys.argv[1:] = [quote_text(full_key(argument)) for argument in sys.argv[1:]]
    quiet()
    guard_environment(sys.argv[1:])
    code = 0
    with terminal():
        code = _exit_code(task, config_name, begin, end)
    if code:
        sys.exit(code)


def _exit_code(
    task: Task, config_name: str, begin: Callable[[], None], end: Callable[[], int]
) -> int:
    """Run the task; what goes wrong is said in one line."""
    failures: list[str] = []
    try:
        begin()
        sys.argv[1:] = [recipe_file(argument) for argument in sys.argv[1:]]
        check_options(sys.argv[1:])
        sys.argv[1:] = places_of_jobs(sys.argv[1:], config_name)
        decorate = hydra.main(
            version_base="1.3", config_path=str(conf_dir()), config_name=config_name
        )
        with guarded_loader(), interruptible():
            decorate(lambda cfg: _run(task, cfg, config_name, failures))()
            if failed := end():
                failures.append(_failed_jobs(len(failures) + failed, config_name))
    except KeyboardInterrupt as interrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return say(str(interrupt) or "interrupted", 130)
    except UserError as error:
        return say(str(error), 2)
    except (HydraException, OmegaConfBaseException) as error:
        return say(explain_error(error, config_name), 2)
    except OSError as raised:  # of `end`, such as a full disk
        if isinstance(raised, BrokenPipeError) or (found := system_error(raised)) is None:
            raise
        return say(str(found), 2)
    return say(failures[-1], 2) if failures else 0


def _run(task: Task, cfg: DictConfig, config_name: str, failures: list[str]) -> Any:
    """Run the task as Hydra calls it; messages that the user can act on go to `failures`.

    Raised, it would be printed by Hydra as well, and would end a sweep.
    """
    trust = trusted(task_overrides())
    try:
        if in_sweep() and cfg.get("pseudonymise", False) is not False:  # null: as in training
            # Hydra's record of a sweep, which tells where the data lie
            (Path(HydraConfig.get().sweep.dir) / "multirun.yaml").unlink(missing_ok=True)
        for key in COMMAND_LINE_ONLY:
            if cfg.get(key) and not _commanded(key):
                raise UserError(
                    f"{key}= is taken from the command line only, but a config file sets it"
                )
        for key in sorted(OmegaConf.missing_keys(cfg)):
            raise UserError(f"{key} is missing: add {key}=… to the command line")
        if in_sweep() and "paths" in cfg:
            cfg.paths.run = sweep_run_dir()
        settings = read(cfg, config_name)
        elsewhere = getattr(getattr(settings, "engine", None), "name", "local") != "local"
        if "torch" not in sys.modules and not elsewhere:  # which takes seconds
            print(f"medcnn {config_name}: loading PyTorch", flush=True)
        with on_the_disk(settings, config_name):
            return task(settings, trust)
    except BrokenPipeError:  # as of `| head`, once it has what it wants
        nobody_reads_on()
        failures.append("nobody reads what is printed any more: stopped")
        return float("nan")
    except (UserError, OmegaConfBaseException, OSError) as raised:
        error = system_error(raised) if isinstance(raised, OSError) else raised
        if error is None:
            raise
        message = str(error) if isinstance(error, UserError) else explain_error(error, "")
        if in_sweep():
            say(message, 2)
            message = _failed_jobs(len(failures) + 1, HydraConfig.get().job.name)
        failures.append(message)
        return float("nan")


def _failed_jobs(number: int, command: str) -> str:
    more = "; see its summary.csv" if command == "train" else ""
    return f"{number} job(s) of the sweep failed{more}"


def in_sweep() -> bool:
    """Return True if Hydra runs several jobs (``-m``)."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def sweep_run_dir() -> str | None:
    """Return the folder that Hydra gives this job of a sweep; None outside a sweep."""
    return str(HydraConfig.get().runtime.output_dir) if in_sweep() else None


def task_overrides() -> list[str]:
    """Return the overrides of the command line as Hydra's strings, without hidden paths of data."""
    if not HydraConfig.initialized():
        return []
    overrides = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(overrides, list)
    return [with_pseudonyms(override) for override in overrides]


def trusted(overrides: list[str]) -> list[str]:
    """Return the names in ``trust=[…]`` among the overrides of the command line."""
    names: list[str] = []
    for override in OverridesParser.create().parse_overrides(
        [o for o in overrides if o.lstrip("+").startswith("trust=")]
    ):
        value = override.value()
        names += [str(name) for name in (value if isinstance(value, list) else [value]) if name]
    return names


def _commanded(key: str) -> bool:
    """Return True if the command line gives a key a value."""
    keys = [override.lstrip("+").partition("=") for override in task_overrides()]
    return any(name == key and value not in ("", "null") for name, _, value in keys)


def explain_error(error: Exception, config_name: str) -> str:
    """Return one line for an error of Hydra or OmegaConf about a command line or config file."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        if not group:
            return f"there is no config {choice}, which a defaults list names"
        options = [str(o) for o in error.options or () if not str(o).startswith("_")]
        others = [path.parent.name for path in conf_dir().glob("*/*.yaml") if path.stem == choice]
        near = f" (did you mean {others[0]}={choice}?)" if len(others) == 1 else ""
        near = f"no such {group}{near or nearest(choice, options)}"
        return f"{group}={choice}: {lacking(choice) or near}"
    if isinstance(error, MissingMandatoryValue):
        key = getattr(error, "full_key", None) or str(error).rpartition(": ")[2]
        return f"{key} is missing: add {key}=… to the command line"
    if isinstance(error.__cause__, UserError):
        return str(error.__cause__)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:2]) if lines and lines[0].endswith(":") else (lines or [repr(error)])[0]
    if isinstance(error, OverrideParseException):
        if "=" not in error.override:
            return f"can't read {error.override!r}: set a value with key=value; see --help"
        return f"can't read {error.override!r}: {text}; put quotes round the value: key='…'"
    match = re.match(r"Could not override '([^']+)'", text)
    if match:
        key = match.group(1).lstrip("+~")
        values = [
            v for k, _, v in (word.partition("=") for word in sys.argv) if k.strip("+~") == key
        ]
        return no_such_key(key, config_name, *values)
    return text


def quiet() -> None:
    """Keep the libraries' advice and notices, which aren't about the user's run, off the screen."""
    for module in ("pytorch_lightning", "lightning_fabric", "torch", "torchmetrics", "monai"):
        warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
    warnings.filterwarnings("ignore", message="Glyph .* missing from")  # train says it once
