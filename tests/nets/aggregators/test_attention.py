from math import exp, tanh

import pytest
import torch

from medcnn.nets.aggregators.attention import Attention, GatedAttention

VALUES = torch.tensor([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]])
BAG = torch.tensor([0, 0, 1])


@pytest.mark.parametrize("gated", [False, True])
def test_attention_is_that_of_the_paper_by_hand(gated: bool) -> None:
    made = (GatedAttention if gated else Attention)(2)
    with torch.no_grad():  # one hidden unit that does something: v = (1, 0.5), w = 2, u = (0, 1)
        for weight in made.parameters():
            weight.zero_()
        made.v.weight[0] = torch.tensor([1.0, 0.5])
        made.w.weight[0, 0] = 2.0
        if isinstance(made, GatedAttention):
            made.u.weight[0] = torch.tensor([0.0, 1.0])
    scores = [2 * tanh(x + 0.5 * y) for x, y in VALUES.tolist()]
    if gated:
        scores = [s / (1 + exp(-y)) for s, (_, y) in zip(scores, VALUES.tolist(), strict=True)]
    first, second, _ = map(exp, scores)
    a = first / (first + second)
    weights = made.weights(VALUES, BAG, {})
    torch.testing.assert_close(weights, torch.tensor([a, 1 - a, 1.0]))
    expected = [[a * 1 + (1 - a) * 0.5, a * 2 - (1 - a)], [3.0, 0.0]]
    torch.testing.assert_close(made(VALUES, BAG, {}), torch.tensor(expected))


def test_weights_of_far_apart_scores_are_finite() -> None:
    made = Attention(2)
    with torch.no_grad():
        made.w.weight.fill_(1e4)
    weights = made.weights(VALUES, BAG, {})
    assert weights.isfinite().all()
    torch.testing.assert_close(weights[:2].sum(), torch.tensor(1.0))
