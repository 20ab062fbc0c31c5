import numpy as np
from sklearn.metrics import roc_auc_score

from medcnn.planning.search.ensemble import ROUNDS, greedy


def test_each_step_adds_the_member_that_makes_the_mean_best() -> None:
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 2, 80)
    members = [0.25 * labels + generator.normal(size=80) * noise for noise in (0.5, 0.6, 0.7, 3)]

    def judge(scores: np.ndarray) -> tuple[float, float]:
        return float(roc_auc_score(labels, scores)), 0.0

    chosen = greedy(members, judge)
    assert 1 < len(chosen) <= ROUNDS
    for count in range(len(chosen)):
        before = [members[k] for k in chosen[:count]]
        found = [judge(np.mean([*before, one], axis=0)) for one in members]
        assert found[chosen[count]] == max(found)
    best = judge(np.mean([members[k] for k in chosen], axis=0))
    assert best > max(judge(one) for one in members)


def test_one_member_where_no_mean_is_better() -> None:
    truth = np.array([0.0, 1.0, 0.0, 1.0])
    members = [truth, 1 - truth, np.full(4, 0.5)]
    assert greedy(members, lambda probs: (-float(np.abs(probs - truth).sum()), 0.0)) == [0]


def test_a_member_counts_as_often_as_it_helps() -> None:
    """The target is a quarter of the way from one member to the other."""
    members = [np.array([0.0]), np.array([1.0])]
    chosen = greedy(members, lambda probs: (-abs(float(probs[0]) - 0.25), 0.0))
    assert sorted(chosen) == [0, 0, 0, 1]
