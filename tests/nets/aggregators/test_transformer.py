import torch

from medcnn.nets.aggregators.transformer import Transformer, sines

VALUES = torch.randn(5, 6)
BAG = torch.tensor([0, 0, 0, 1, 1])


def test_it_is_the_encoder_on_each_study_and_attention_over_that() -> None:
    made = Transformer(6).eval()
    alone = [made.encoder(made.narrow(part)[None])[0] for part in VALUES.split([3, 2])]
    zeros = [torch.zeros(len(part), dtype=torch.int64) for part in alone]
    expected = torch.cat([made.pool(*one, {}) for one in zip(alone, zeros, strict=True)])
    torch.testing.assert_close(made(VALUES, BAG, {}), expected, rtol=1e-4, atol=1e-5)


def test_the_order_counts_where_it_means_something_and_only_there() -> None:
    made, bag = Transformer(6).eval(), torch.zeros(3, dtype=torch.int64)
    values = VALUES[:3]
    as_bag = made(values, bag, {}), made(values.flip(0), bag, {})
    torch.testing.assert_close(*as_bag, rtol=1e-4, atol=1e-5)
    order = {"order": torch.arange(3)}
    as_slices = made(values, bag, order), made(values.flip(0), bag, order)
    assert not torch.allclose(*as_slices, atol=1e-3)


def test_places_are_told_by_sines() -> None:
    codes = sines(torch.tensor([0, 3]), 4)
    rates = torch.tensor([1.0, 0.01])
    torch.testing.assert_close(codes[0], torch.tensor([0.0, 1.0, 0.0, 1.0]))
    torch.testing.assert_close(codes[1, 0::2], (3 * rates).sin())
    torch.testing.assert_close(codes[1, 1::2], (3 * rates).cos())
