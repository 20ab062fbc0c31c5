"""What stands between the command line and a task: paths, trust, one-line errors, exit codes."""

import argparse
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from medcnn.config import conf_dir
from medcnn.errors import UserError

PATHS = (
    "checkpoint",
    "images",
    "output",
    "resume",
    "dataset.root",
    "dataset.path",
    "paths.data",
    "paths.runs",
    "paths.run",
)
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
    sys.argv[1:] = [quote_path(argument) for argument in sys.argv[1:]]
    _quiet()
    failures: list[str] = []
    try:
        check_hydra_settings(sys.argv[1:], config_name)
        decorate = hydra.main(
            version_base="1.3", config_path=str(conf_dir()), config_name=config_name
        )
        decorate(lambda cfg: _run(task, cfg, failures))()
    except KeyboardInterrupt as interrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(_say(str(interrupt) or "interrupted", 130))
    except UserError as error:
        sys.exit(_say(str(error), 2))
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(_say(explain_error(error, config_name), 2))
    if failures:
        sys.exit(_say(failures[-1], 2))


def _run(task: Task, cfg: DictConfig, failures: list[str]) -> Any:
    """The task as Hydra calls it; what the user can put right goes to `failures`.

    Raised, it would be printed by Hydra as well, and would end a sweep.
    """
    overrides = list(HydraConfig.get().overrides.task)
    trust = trusted(overrides)
    try:
        if cfg.get("trust") and list(cfg.trust) != trust:
            raise UserError("trust= is taken from the command line only, but a config file sets it")
        return task(cfg, trust)
    except UserError as error:
        if in_sweep():
            _say(str(error), 2)
            failures.append(f"{len(failures) + 1} job(s) of the sweep failed; see its summary.csv")
        else:
            failures.append(str(error))
        return float("nan")
    except OmegaConfBaseException as error:
        failures.append(explain_error(error, ""))
        return float("nan")


def in_sweep() -> bool:
    """Whether Hydra runs several jobs (``-m``)."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def sweep_run_dir() -> str | None:
    """The folder that Hydra gives this job of a sweep; None outside a sweep."""
    return str(HydraConfig.get().runtime.output_dir) if in_sweep() else None


def task_overrides() -> list[str]:
    """What the command line set, as Hydra's override strings."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def trusted(overrides: list[str]) -> list[str]:
    """The names in ``trust=[…]`` among the overrides of the command line."""
    names: list[str] = []
    for override in OverridesParser.create().parse_overrides(
        [o for o in overrides if o.lstrip("+").startswith("trust=")]
    ):
        value = override.value()
        names += [str(name) for name in (value if isinstance(value, list) else [value])]
    return names


def quote_path(argument: str) -> str:
    """Quote the value of a key that takes a path, so that Hydra reads it as it was typed.

    >>> quote_path("checkpoint=runs/lr=0.1 [a], é.ckpt")
    "checkpoint='runs/lr=0.1 [a], é.ckpt'"
    >>> quote_path("seed=1")
    'seed=1'
    """
    key, equals, value = argument.partition("=")
    plain_value = value in ("", "null") or value[0] in "'\""
    if not equals or key.lstrip("+") not in PATHS or plain_value:
        return argument
    escaped = value.replace("'", "\\'")
    return f"{key}='{escaped}'"


def check_hydra_settings(argv: list[str], config_name: str) -> None:
    """Refuse config files that set ``hydra.*``, which could start programs before the task does.

    The settings of Hydra have to be what medcnn's own root config and the command line make them:
    the config is composed with and without the choices of the command line, and its ``hydra``
    nodes compared. A sweep is composed once for each value that it names.

    Raises:
        UserError: A file sets something of ``hydra``.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=True)
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--config-path", "-cp")
    parser.add_argument("--config-name", "-cn")
    parser.add_argument("--multirun", "-m", action="store_true")
    known, rest = parser.parse_known_args(argv)
    overrides = [a for a in rest if a.startswith("~") or ("=" in a and not a.startswith("-"))]
    of_hydra = [o for o in overrides if re.match(r"[+~]*hydra[./@]", o)]
    if known.config_path:
        raise UserError("--config-path would replace medcnn's own configs; use --config-dir")
    search = [] if known.config_dir is None else [os.path.abspath(known.config_dir)]  # noqa: PTH100
    name = known.config_name or config_name
    expected = _hydra_node(config_name, of_hydra, [])
    for variant in _variants(overrides):
        found = _hydra_node(name, variant, search)
        for key in sorted(expected.keys() | found.keys()):
            if expected.get(key) != found.get(key):
                raise UserError(
                    f"a config file sets hydra.{key}; only the command line may set hydra.*"
                )


def _variants(overrides: list[str]) -> Iterator[list[str]]:
    """The overrides with each value of each sweep in turn, the other sweeps at their first."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    choices = [
        [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()]
        if o.is_sweep_override() and not o.is_hydra_override()
        else [text]
        for o, text in zip(parsed, overrides, strict=True)
    ]
    first = [values[0] for values in choices]
    yield first
    for index, values in enumerate(choices):
        for value in values[1:]:
            yield [*first[:index], value, *first[index + 1 :]]


def _hydra_node(config_name: str, overrides: list[str], search: list[str]) -> dict[str, Any]:
    """The ``hydra`` node of a composed config, without what differs from call to call."""
    if search:
        overrides = [*overrides, f"hydra.searchpath=['file://{search[0]}']"]
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose(config_name, overrides, return_hydra_config=True)
    node = OmegaConf.to_container(cfg.hydra, resolve=False)
    assert isinstance(node, dict)
    for key in ("runtime", "overrides", "searchpath", "mode"):
        node.pop(key, None)
    for key in ("override_dirname", "id", "num", "config_name"):
        node["job"].pop(key, None)
    return {str(key): value for key, value in node.items()}


def explain_error(error: Exception, config_name: str) -> str:
    """One line for what Hydra and OmegaConf raise about a command line or a config file."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        if not group:
            return f"there is no config {choice}; give one of conf/ or set --config-dir"
        options = [str(option) for option in error.options or ()]
        return f"{group}={choice}: no such {group}{_nearest(choice, options)}"
    if isinstance(error, MissingMandatoryValue):
        key = getattr(error, "full_key", None) or str(error).rpartition(": ")[2]
        return f"{key} is missing: add {key}=… to the command line"
    text = next((line for line in str(error).splitlines() if line.strip()), repr(error))
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
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose(config_name)
    return list(_flatten(OmegaConf.to_container(cfg, resolve=False), ""))


def _flatten(node: Any, prefix: str) -> Iterator[str]:
    for key, value in node.items():
        yield prefix + str(key)
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")


def _say(message: str, code: int) -> int:
    """Print one line on stderr; the exit code comes back."""
    line = " ".join(message.split())
    print(f"medcnn: {line}", file=sys.stderr, flush=True)
    return code


def _quiet() -> None:
    """Keep the libraries' advice and notices, which aren't about the user's run, off the screen."""
    for module in ("pytorch_lightning", "lightning_fabric", "torch", "torchmetrics", "monai"):
        warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
