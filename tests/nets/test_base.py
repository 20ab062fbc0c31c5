"""The parts of a net."""

from typing import Any

from torch import Tensor, nn

from medcnn.nets.base import parts_of, stages_of


class Doubled(nn.Sequential):
    """A Sequential that does something else."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_a_part_used_twice_is_there_twice_and_what_is_no_chain_is_one() -> None:
    net: Any = nn.Module()
    relu = nn.ReLU()
    net.features = nn.Sequential(relu, nn.Tanh(), relu)
    assert list(stages_of(net).values()) == list(net.features)
    net.features = Doubled(relu)
    assert parts_of(net.features) is None
    assert stages_of(net) == {"features": net.features}
