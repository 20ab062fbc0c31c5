import pytest
import torch
from torch import nn

from medcnn.nets.aggregators.recurrent import GRU, LSTM, Recurrent

KINDS = [(GRU, nn.GRU), (LSTM, nn.LSTM)]


def torchs(made: Recurrent, kind: type[nn.GRU] | type[nn.LSTM]) -> nn.Module:
    own = kind(5, 128, batch_first=True, bidirectional=True)
    own.load_state_dict(made.net.state_dict())
    return own


@pytest.mark.parametrize(("aggregator", "kind"), KINDS)
def test_it_is_torchs_on_each_of_studies_of_several_lengths(
    aggregator: type[Recurrent], kind: type[nn.GRU] | type[nn.LSTM]
) -> None:
    made, values = aggregator(5), torch.randn(7, 5)  # type: ignore[call-arg]
    alone = torchs(made, kind)
    each = [alone(part[None])[0][0] for part in values.split([1, 4, 2])]
    bag = torch.tensor([0, 1, 1, 1, 1, 2, 2])
    torch.testing.assert_close(made.read(values, bag), torch.cat(each))
    expected = torch.stack([one.amax(0) for one in each])
    torch.testing.assert_close(made(values, bag, {}), expected)


def test_the_order_of_the_images_counts() -> None:
    made, values, bag = GRU(5), torch.randn(3, 5), torch.zeros(3, dtype=torch.int64)
    assert not torch.allclose(made(values, bag, {}), made(values.flip(0), bag, {}), atol=1e-4)
