"""A guard against config files that set something of Hydra itself."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import hydra._internal.hydra as hydra_internal
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from medcnn.errors import UserError
from medcnn.jobs.instantiate import check_yaml, conf_dir
from medcnn.jobs.settings.read import check

_MISSING = object()


class GuardedLoader(ConfigLoaderImpl):
    """Hydra's loader of configs, except that no file but medcnn's own may set ``hydra.*``.

    What stands under ``hydra`` can start programs before the task does (callbacks, log handlers,
    launchers), set environment variables, or pass for the command line. Hydra composes every
    config here: of a job, of a sweep and each of its jobs, and for options such as ``--help``.
    """

    def load_configuration(
        self, config_name: str | None, overrides: list[str], *further: Any, **options: Any
    ) -> DictConfig:
        """Return the composed config; raise UserError as `check`, and at a file with hydra.*."""
        try:
            cfg = super().load_configuration(config_name, overrides, *further, **options)
            found = _hydra_node(cfg)
        except (HydraException, OmegaConfBaseException):
            raise
        except Exception as error:  # whatever YAML and Hydra raise about a file that is no config
            raise UserError(f"a config file can't be read: {error}") from error
        expected = _own_hydra_node(config_name, overrides)
        for key in sorted(expected.keys() | found.keys()):
            if expected.get(key) != found.get(key):
                raise UserError(
                    f"a config file sets hydra.{key}; only the command line may set hydra.*"
                )
        if config_name is not None:
            check(cfg, config_name)
        return cfg

    def get_group_options(self, *given: Any, **options: Any) -> list[str]:
        """Return the choices of a group, as ``--help`` lists them; ``_…`` are bases of others."""
        choices = super().get_group_options(*given, **options)
        return [choice for choice in choices if not choice.startswith("_")]


def _own_hydra_node(config_name: str | None, overrides: list[str]) -> dict[str, Any]:
    """Return the `_hydra_node` that conf/ and the command line alone make."""
    lines: dict[str, list[str]] = {"hydra": [], "task": []}
    for override in OverridesParser.create().parse_overrides(overrides):
        lines["hydra" if override.is_hydra_override() else "task"].append(str(override.input_line))
    settings = [line for line in lines["hydra"] if not line.startswith("hydra.searchpath=")]
    return _default_hydra_node(config_name, tuple(settings)) | {"overrides": lines}


@cache
def _default_hydra_node(config_name: str | None, settings: tuple[str, ...]) -> dict[str, Any]:
    loader = ConfigLoaderImpl(create_config_search_path(str(conf_dir())))
    return _hydra_node(loader.load_configuration(config_name, list(settings), RunMode.RUN))


def _hydra_node(cfg: DictConfig) -> dict[str, Any]:
    """Return the ``hydra`` node of a config, without the keys that Hydra itself fills in."""
    node = OmegaConf.to_container(cfg.hydra, resolve=False)
    assert isinstance(node, dict)
    for key in ("runtime", "searchpath"):
        node.pop(key)
    for key in ("override_dirname", "config_name"):
        node["job"].pop(key)
    return {str(key): value for key, value in node.items()}


@contextmanager
def guarded_loader() -> Iterator[None]:
    """Make Hydra use `GuardedLoader`, and `check_yaml` before a file, inside the block."""
    load = OmegaConf.load

    def checked(file: Any) -> Any:
        text = file.read() if hasattr(file, "read") else Path(file).read_text(encoding="utf-8")
        check_yaml(text)
        stream: Any = StringIO(text)
        stream.name = str(getattr(file, "name", file))  # for YAML's messages
        return load(stream)

    vars(hydra_internal)["ConfigLoaderImpl"] = GuardedLoader
    OmegaConf.load = checked  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        vars(hydra_internal)["ConfigLoaderImpl"] = ConfigLoaderImpl
        OmegaConf.load = load  # type: ignore[method-assign]


def guard_environment(argv: Sequence[str]) -> None:
    """Let ``${oc.env:NAME}`` read those variables alone that the command line or conf/ names.

    A config file, run directory or checkpoint of a stranger could put what any other holds into the
    files that a run writes.
    """

    def read(name: str, default: Any = _MISSING) -> Any:
        files = (path.read_text(encoding="utf-8") for path in conf_dir().rglob("*.yaml"))
        named = re.findall(r"\$\{\s*oc\.env\s*:\s*([^\s,}]+)", "\n".join([*argv, *files]))
        if name not in named:
            raise UserError(
                f"${{oc.env:{name}}}: a config file may not read the environment; set the key on "
                "the command line"
            )
        return oc.env(name) if default is _MISSING else oc.env(name, default)

    OmegaConf.register_new_resolver("oc.env", read, replace=True)
