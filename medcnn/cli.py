"""What stands between the command line and a task: paths, trust, one-line errors, exit codes."""

import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from medcnn.config import conf_dir
from medcnn.errors import UserError
from medcnn.guard import guarded_loader
from medcnn.terminal import nobody_reads_on, say, terminal

AS_TYPED = (  # keys of paths and other text, which Hydra is not to take apart
    "checkpoint",
    "random_labels",
    "image",
    "images",
    "output",
    "resume",
    "dataset.root",
    "dataset.path",
    "dataset.patient",
    "dataset.separator",
    "model.weights",
    "cache.folder",
    "paths.pseudonym_key",
    "paths.data",
    "paths.runs",
    "paths.run",
)
RULES = ("evaluation.operating_point",)  # keys of words that may hold an equals sign
LISTS = ("ensemble", "runs", "seeds")  # keys of a path, or of several in brackets
SHORT = {  # what may be written without the group before it
    key: f"dataset.{key}" for key in ("spatial_dims", "frame", "slices", "allow_missing_geometry")
}
Task = Callable[[DictConfig, list[str]], Any]


def main(task: Task, config_name: str) -> None:
    """Run a task with the config that the command line asks for, and exit.

    Args:
        task: Called with the composed config and the names trusted on the command line.
        config_name: The root config in conf/, without ``.yaml``.

    Exit codes: 0 done, 1 a fault of medcnn, 2 something that the user can put right (one line on
    stderr), 130 interrupted.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra's errors reach us
    sys.argv[1:] = [quote_text(full_key(argument)) for argument in sys.argv[1:]]
    _quiet()
    code = 0
    with terminal():
        code = _exit_code(task, config_name)
    if code:
        sys.exit(code)


def _exit_code(task: Task, config_name: str) -> int:
    """Run the task; what goes wrong is said in one line."""
    failures: list[str] = []
    try:
        check_options(sys.argv[1:])
        decorate = hydra.main(
            version_base="1.3", config_path=str(conf_dir()), config_name=config_name
        )
        with guarded_loader():
            decorate(lambda cfg: _run(task, cfg, failures))()
    except KeyboardInterrupt as interrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return say(str(interrupt) or "interrupted", 130)
    except UserError as error:
        return say(str(error), 2)
    except (HydraException, OmegaConfBaseException) as error:
        return say(explain_error(error, config_name), 2)
    return say(failures[-1], 2) if failures else 0


def _run(task: Task, cfg: DictConfig, failures: list[str]) -> Any:
    """The task as Hydra calls it; what the user can put right goes to `failures`.

    Raised, it would be printed by Hydra as well, and would end a sweep.
    """
    trust = trusted(task_overrides())
    try:
        if cfg.get("trust") and not trust:
            raise UserError("trust= is taken from the command line only, but a config file sets it")
        return task(cfg, trust)
    except BrokenPipeError:  # as of `| head`, once it has what it wants
        nobody_reads_on()
        failures.append("nobody reads what is printed any more: stopped")
        return float("nan")
    except (UserError, OmegaConfBaseException) as error:
        message = str(error) if isinstance(error, UserError) else explain_error(error, "")
        if in_sweep():
            say(message, 2)
            message = f"{len(failures) + 1} job(s) of the sweep failed; see its summary.csv"
        failures.append(message)
        return float("nan")


def in_sweep() -> bool:
    """Whether Hydra runs several jobs (``-m``)."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def sweep_run_dir() -> str | None:
    """The folder that Hydra gives this job of a sweep; None outside a sweep."""
    return str(HydraConfig.get().runtime.output_dir) if in_sweep() else None


def task_overrides() -> list[str]:
    """What the command line set, as Hydra's override strings."""
    if not HydraConfig.initialized():
        return []
    overrides = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(overrides, list)
    return overrides


def trusted(overrides: list[str]) -> list[str]:
    """The names in ``trust=[…]`` among the overrides of the command line."""
    names: list[str] = []
    for override in OverridesParser.create().parse_overrides(
        [o for o in overrides if o.lstrip("+").startswith("trust=")]
    ):
        value = override.value()
        names += [str(name) for name in (value if isinstance(value, list) else [value]) if name]
    return names


def full_key(argument: str) -> str:
    """Complete the key of an override that has a short form.

    >>> full_key("slices=every:2")
    'dataset.slices=every:2'
    >>> full_key("+seed=1")
    '+seed=1'
    """
    key, equals, value = argument.partition("=")
    return f"{SHORT[key]}={value}" if equals and key in SHORT else argument


def quote_text(argument: str) -> str:
    """Quote the value of a key in `AS_TYPED`, so that Hydra reads it as it was typed.

    So are the paths of a key in `LISTS`, one by one; a list stands in brackets, its paths apart by
    commas, unless a folder has that very name. A rule is quoted where it holds an equals sign.

    >>> quote_text("checkpoint=runs/lr=0.1 [a], é.ckpt")
    "checkpoint='runs/lr=0.1 [a], é.ckpt'"
    >>> quote_text("runs=[my runs/a, lr=0.1]")
    "runs=['my runs/a','lr=0.1']"
    >>> quote_text("evaluation.operating_point=youden,sensitivity=0.95")
    "evaluation.operating_point=youden,'sensitivity=0.95'"
    >>> quote_text("seed=1")
    'seed=1'
    """
    key, equals, value = argument.partition("=")
    name = key.lstrip("+")
    if name in RULES:
        rules = [_quoted(rule) if "=" in rule else rule for rule in value.split(",")]
        return f"{key}{equals}{','.join(rules)}"
    if not equals or name not in (*AS_TYPED, *LISTS):
        return argument
    several = re.fullmatch(r"\[(.*)\]", value, flags=re.DOTALL) if name in LISTS else None
    if several is None or Path(value).is_dir():
        return f"{key}={_quoted(value)}"
    return f"{key}=[{','.join(_quoted(path.strip()) for path in several[1].split(','))}]"


def _quoted(value: str) -> str:
    """A value as Hydra reads it as it was typed."""
    already = len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]
    if value in ("", "null") or already:
        return value
    # Hydra drops one of two backslashes before a quote, and only there.
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + m[2].replace("'", "\\'"), value)
    return f"'{escaped}'"


def check_options(argv: list[str]) -> None:
    """Refuse options that Hydra doesn't know, and those that would replace medcnn's own configs.

    Raises:
        UserError: Such an option, or text that the locale can't name a file by.
    """
    for argument in argv:
        if not argument.isascii() and sys.getfilesystemencoding() != "utf-8":
            raise UserError(f"{argument}: this locale has ASCII alone; set PYTHONUTF8=1 before")

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}; values are set with key=value, options come first: see --help")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    options = parser.parse_args(argv)
    for name in ("config_path", "config_name", "experimental_rerun"):
        if getattr(options, name) is not None:
            raise UserError(
                f"--{name.replace('_', '-')} would replace medcnn's own configs; add yours with "
                "--config-dir"
            )
    commands = ("run", "multirun", "cfg", "info", "shell_completion")
    given = [name for name in commands if getattr(options, name)]
    if len(given) > 1:
        raise UserError(f"--{given[0]} and --{given[1]} don't go together")


def explain_error(error: Exception, config_name: str) -> str:
    """One line for what Hydra and OmegaConf raise about a command line or a config file."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        if not group:
            return f"there is no config {choice}, which a defaults list names"
        options = [str(o) for o in error.options or () if not str(o).startswith("_")]
        return f"{group}={choice}: no such {group}{_nearest(choice, options)}"
    if isinstance(error, MissingMandatoryValue):
        key = getattr(error, "full_key", None) or str(error).rpartition(": ")[2]
        return f"{key} is missing: add {key}=… to the command line"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:2]) if lines and lines[0].endswith(":") else (lines or [repr(error)])[0]
    if isinstance(error, OverrideParseException):
        return f"can't read {error.override!r}: {text}; put quotes round the value: key='…'"
    match = re.match(r"Could not override '([^']+)'", text)
    if match:
        key = match.group(1).lstrip("+~")
        return f"there is no key {key}{_nearest(key, _known_keys(config_name))}"
    return text


def _nearest(word: str, options: list[str]) -> str:
    near = get_close_matches(word, options, n=3, cutoff=0.5)
    listed = f"; there are {', '.join(options)}" if 0 < len(options) <= 30 else ""
    return f" (did you mean {' or '.join(near)}?)" if near else listed


def _known_keys(config_name: str) -> list[str]:
    """All groups and keys of a root config, with the groups' choices of the command line."""
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose(config_name, return_hydra_config=True)
        groups = [str(group) for group in cfg.hydra.runtime.choices if "/" not in str(group)]
        pairs = [argument.partition("=") for argument in sys.argv[1:]]
        chosen = [
            f"{group}={choice}"
            for group, _, choice in pairs
            if group in groups and (conf_dir() / group / f"{choice}.yaml").is_file()
        ]
        cfg = hydra.compose(config_name, chosen)
    keys = _flatten(OmegaConf.to_container(cfg, resolve=False), "")
    return list(dict.fromkeys([*groups, *keys]))


def _flatten(node: Any, prefix: str) -> Iterator[str]:
    for key, value in node.items():
        yield prefix + str(key)
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")


def _quiet() -> None:
    """Keep the libraries' advice and notices, which aren't about the user's run, off the screen."""
    for module in ("pytorch_lightning", "lightning_fabric", "torch", "torchmetrics", "monai"):
        warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
    warnings.filterwarnings("ignore", message="Glyph .* missing from")  # train says it once
