"""What a trial draws: at random, from coarse to fine, or by Optuna's samplers."""

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, CmaEsSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from medcnn.errors import UserError
from medcnn.jobs.settings import groups
from medcnn.planning.search.space import Draws

DIGITS = 4  # of a number: more would be no other training
Finished = tuple[Draws, float | None]  # what a trial has drawn, and its score; None without one


class Numbered(BaseSampler):
    """Draws that follow from a seed, the trial's number and the key's name alone.

    So neither the number of workers nor an interruption changes what a trial draws.

    Args:
        seed: Of the search.
        number: Of the trial.
        best: Draws of the trials around which it draws; without any it draws from everything.
        narrower: By how much the ranges are narrower than the whole ones.
    """

    def __init__(
        self, seed: int, number: int, best: Sequence[Draws] = (), narrower: float = 1
    ) -> None:
        self.seed, self.number, self.best, self.narrower = seed, number, best, narrower

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        """Return nothing: each key is drawn by itself."""
        return {}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Any) -> Draws:
        """Return nothing, as the method before."""
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the value of a key."""
        generator = np.random.default_rng([self.seed, self.number, zlib.crc32(param_name.encode())])
        around = [draws[param_name] for draws in self.best if param_name in draws]
        return drawn(generator, param_distribution, around, self.narrower)


def drawn(
    generator: np.random.Generator,
    of: BaseDistribution,
    around: Sequence[Any] = (),
    narrower: float = 1,
) -> Any:
    """Return a value of a distribution, from a range around the median of some values.

    Args:
        generator: Of random numbers.
        of: The whole distribution.
        around: Values of it; without any it is drawn from the whole.
        narrower: By how much the range is narrower than the whole; it is moved to lie within. A
            choice is drawn with a weight of how often it is among `around`, plus one in all.
    """
    if isinstance(of, CategoricalDistribution):
        choices = of.choices
        weights = np.array([around.count(one) if around else 1 for one in choices], float)
        weights += 1 / len(choices)
        return choices[int(generator.choice(len(choices), p=weights / weights.sum()))]
    assert isinstance(of, FloatDistribution | IntDistribution)
    half = of.step / 2 if of.step is not None else 0.0  # each value of a grid is as likely
    ends = np.array([of.low - half, of.high + half] if not of.log else [of.low, of.high], float)
    if of.log and isinstance(of, IntDistribution):
        ends += [-0.5, 0.5]
    scale, back = (np.log, np.exp) if of.log else (np.asarray, np.asarray)
    low, high = scale(ends)
    if around:
        width = (high - low) / narrower
        middle = float(np.median(scale(np.array(around, float))))
        low = min(max(middle - width / 2, low), high - width)
        high = low + width
    value = float(back(generator.uniform(low, high)))
    if of.step is not None:
        value = of.low + round((value - of.low) / of.step) * of.step
    if isinstance(of, FloatDistribution):
        value = float(f"{value:.{DIGITS}g}")
    value = min(max(value, of.low), of.high)
    return int(value) if isinstance(of, IntDistribution) else value


def best_quarter(finished: Sequence[Finished]) -> list[Draws]:
    """Return the draws of the best quarter of trials, at least two where there are as many."""
    scored = [(score, draws) for draws, score in finished if score is not None]
    scored.sort(key=lambda pair: -pair[0])
    return [draws for _, draws in scored[: max(2, math.ceil(len(finished) / 4))]]


def make_sampler(
    settings: groups.Search, seed: int, number: int, finished: Sequence[Finished]
) -> BaseSampler:
    """Return what draws for a trial.

    Args:
        settings: Of the search.
        seed: Of the search.
        number: Of the trial, from 0.
        finished: All trials that have ended by now.

    Raises:
        UserError: CMA-ES without its library.
    """
    first, own = settings.first, int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    if settings.sampler == "coarse_to_fine" and number >= first:
        return Numbered(seed, number, best_quarter(finished), 2.0 ** (number // first))
    if settings.sampler == "tpe" and number >= first:
        return TPESampler(seed=own, n_startup_trials=0)
    if settings.sampler == "cma_es" and number >= first:
        try:
            import cmaes  # noqa: F401
        except ImportError:
            raise UserError(
                'search=cma_es needs its library: pip install "medcnn[search]"'
            ) from None
        return CmaEsSampler(
            seed=own,
            n_startup_trials=0,
            independent_sampler=Numbered(seed, number),
            warn_independent_sampling=False,
        )
    return Numbered(seed, number)
