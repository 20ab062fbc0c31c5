"""From what a trial draws to the settings of its training."""

from collections.abc import Sequence

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from medcnn.errors import UserError
from medcnn.jobs import command_line as cli
from medcnn.jobs.settings.commands import Train
from medcnn.jobs.settings.read import read
from medcnn.planning.search.space import Draws, Key, corners, overrides_of

OWN = ("search", "output", "engine")  # keys and groups of a command line that aren't the training's


class Composer:
    """Composes the config of a trial: that of the command line, with what is drawn in place.

    Args:
        space: What is drawn.

    Raises:
        UserError: The command line sets a key that is drawn.
    """

    def __init__(self, space: Sequence[Key]) -> None:
        given = HydraConfig.get().overrides
        self.overrides = list(given.task)
        self.hydra_overrides = list(given.hydra)
        drawn = {key.name for key in space}
        for one in OverridesParser.create().parse_overrides(self.overrides):
            if one.key_or_group in drawn:
                raise UserError(
                    f"{one.input_line}: search.space draws {one.key_or_group}; leave one of the "
                    "two out"
                )

    def config(self, draws: Draws, *, of_hydra: bool = False) -> DictConfig:
        """Return the config of a search with what a trial draws.

        Args:
            draws: Of a trial.
            of_hydra: With the node of Hydra itself.

        Raises:
            UserError: A key or choice that there is not.
        """
        overrides = [*self.hydra_overrides, *self.overrides, *overrides_of(draws)]
        try:
            return hydra.compose("search", overrides, return_hydra_config=of_hydra)
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(f"search.space: {cli.explain_error(error, 'search')}") from error

    def training(self, draws: Draws) -> Train:
        """Return the settings of a trial's training; raise UserError as `config`, or at a value."""
        settings: Train = read(self.config(draws), "search").training()
        return settings

    def of_training(self) -> list[str]:
        """Return the overrides of the command line that are the training's."""
        return [
            str(one.input_line)
            for one in OverridesParser.create().parse_overrides(self.overrides)
            if one.key_or_group.split(".")[0] not in OWN
        ]


def check_space(composer: Composer, space: Sequence[Key], trust: list[str]) -> None:
    """Raise UserError where a trial couldn't begin, before the first one.

    Tried are all choices, and both ends of all ranges.
    """
    from medcnn.training.from_config import check_config

    for draws in corners(space):
        try:
            check_config(composer.training(draws), trust)
        except UserError as error:
            text = str(error).removeprefix("search.space: ")
            raise UserError(f"search.space, {', '.join(overrides_of(draws))}: {text}") from error


def check_data(composer: Composer, space: Sequence[Key], trust: list[str]) -> None:
    """Raise UserError where a training couldn't use the data; they are cached for the trials."""
    from medcnn.data.open_data import open_data
    from medcnn.training.checks import check_samples

    cfg = composer.training(corners(space)[0])
    check_samples(cfg, open_data(cfg, trust).samples)
