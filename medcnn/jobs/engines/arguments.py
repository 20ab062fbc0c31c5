"""The command line of one job, from the one that Hydra is at."""

import sys

from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf


def arguments_of_job(*further: str, without: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the arguments of the job that Hydra has composed, to run here, by itself.

    Args:
        *further: Put behind them.
        without: Keys that are left out, beside those of the engine.
    """
    given = HydraConfig.get()
    folder = get_args_parser().parse_args(sys.argv[1:]).config_dir
    options = () if folder is None else ("--config-dir", str(folder))
    paths = [one for one in given.overrides.hydra if one.startswith("hydra.searchpath=")]
    if not OmegaConf.is_missing(given.job, "num"):  # which a value may name
        paths.append(f"hydra.job.num={given.job.num}")
    kept = [one for one in given.overrides.task if not is_of(one, "engine", *without)]
    return (*options, *paths, *kept, "engine=local", *further)


def is_of(override: str, *keys: str) -> bool:
    """Return whether an override sets one of these keys, or something in it.

    >>> is_of("+engine.cpus=2", "engine"), is_of("engines=2", "engine")
    (True, False)
    """
    name = override.lstrip("+~").partition("=")[0]
    return any(name == key or name.startswith(f"{key}.") for key in keys)
