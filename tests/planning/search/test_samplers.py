import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from scipy import stats

from medcnn.planning.search.samplers import best_quarter, drawn, make_sampler
from medcnn.planning.search.space import read_space, suggest

RATE = {"optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True}, "model": ["a", "b", "c"]}


def settings(sampler: str, first: int = 8) -> Any:
    return SimpleNamespace(sampler=sampler, first=first)


def test_draws_are_uniform_in_their_scale() -> None:
    generator = np.random.default_rng(0)
    log = FloatDistribution(1e-4, 1e-1, log=True)
    values = np.log10([drawn(generator, log) for _ in range(1000)])
    assert stats.kstest(values, "uniform", (-4, 3)).pvalue > 0.05
    for of, all_values in (
        (IntDistribution(2, 10, step=4), [2, 6, 10]),
        (FloatDistribution(0, 1, step=0.5), [0, 0.5, 1]),
        (CategoricalDistribution(["a", "b"]), ["a", "b"]),
    ):
        found = [drawn(generator, of) for _ in range(600)]
        counts = [found.count(value) for value in all_values]
        assert sum(counts) == 600
        assert stats.chisquare(counts).pvalue > 0.01


def test_draws_lie_around_the_best_and_within_the_space() -> None:
    generator = np.random.default_rng(0)
    log = FloatDistribution(1e-4, 1e-1, log=True)
    for around, low, high in (
        ([1e-3] * 3, -3.375, -2.625),
        ([1e-1], -1.75, -1),
        ([1e-4], -4, -3.25),
    ):
        values = np.log10([drawn(generator, log, around, 4) for _ in range(500)])
        assert values.min() == pytest.approx(low, abs=0.02)
        assert values.max() == pytest.approx(high, abs=0.02)
    choices = CategoricalDistribution(["a", "b", "c"])
    found = [drawn(generator, choices, ["b"] * 4 + ["c"], 4) for _ in range(1000)]
    assert found.count("b") > found.count("c") > found.count("a") > 0


def test_the_best_quarter() -> None:
    finished = [({"x": n}, None if n == 9 else float(n)) for n in range(10)]
    assert best_quarter(finished) == [{"x": 8}, {"x": 7}, {"x": 6}]
    assert best_quarter(finished[:3]) == [{"x": 2}, {"x": 1}]
    assert best_quarter(finished[9:]) == []


def test_random_draws_follow_from_the_number_alone() -> None:
    def draw(number: int, seed: int = 0) -> dict[str, Any]:
        study = optuna.create_study(sampler=make_sampler(settings("random"), seed, number, []))
        return suggest(read_space(RATE), study.ask())

    forwards = [draw(number) for number in range(20)]
    backwards = [draw(number) for number in reversed(range(20))]
    assert forwards == backwards[::-1]
    assert len({one["optimizer.lr"] for one in forwards}) == 20
    assert draw(3, seed=1) != forwards[3]


@pytest.mark.parametrize("sampler", ["coarse_to_fine", "tpe", "cma_es"])
def test_each_sampler_finds_more_than_chance(sampler: str) -> None:
    def best(kind: str, seed: int) -> float:
        study = optuna.create_study(direction="maximize")
        for number in range(32):
            finished = [(one.params, one.value) for one in study.trials]
            study.sampler = make_sampler(settings(kind), seed, number, finished)
            trial = study.ask()
            draws = suggest(read_space(RATE | {"w": {"low": 0, "high": 1}}), trial)
            score = -((np.log10(draws["optimizer.lr"]) + 2.3) ** 2) - 3 * (draws["w"] - 0.7) ** 2
            study.tell(trial, score - 0.3 * "bac".index(draws["model"]), TrialState.COMPLETE)
        return float(study.best_value)

    pairs = [(best(sampler, seed), best("random", seed)) for seed in range(8)]
    better = sum(found > chance for found, chance in pairs)
    assert better >= 6, list(itertools.starmap("{:.4f} {:.4f}".format, pairs))
