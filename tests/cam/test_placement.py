"""Maps are drawn where the cells look."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medcnn import nets
from medcnn.cam import explain
from medcnn.cam.placement import gathered, placed, shares
from medcnn.nets.receptive_field import ReceptiveField, receptive_field


@pytest.mark.parametrize("size", [(12, 20), (7, 9, 16)])
def test_even_cells_as_torch_interpolates(size: tuple[int, ...]) -> None:
    cells = torch.rand(3, *[4, 5, 3][: len(size)])
    mode = "bilinear" if len(size) == 2 else "trilinear"
    expected = F.interpolate(cells[:, None], size, mode=mode, align_corners=False)[:, 0]
    torch.testing.assert_close(placed(cells, size, None), expected)


def test_cells_that_divide_the_image_evenly_have_such_a_field() -> None:
    pooling = ReceptiveField(size=4, stride=4, start=0)
    torch.testing.assert_close(shares(20, 5, pooling), shares(20, 5, None))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_cell_has_its_maximum_at_its_centre(dims: int) -> None:
    cells = torch.zeros(1, *[4] * dims)
    cells[(0, 1, 2, 3)[: dims + 1]] = 1
    found = placed(cells, [32] * dims, ReceptiveField(size=11, stride=8, start=-3))
    where = torch.tensor([8, 16, 24][:dims]) + 2  # the middle of -3 … 7 is pixel 2
    assert torch.unravel_index(found[0].argmax(), found.shape[1:]) == tuple(where)
    assert found.max() == 1


def test_one_cell_is_everywhere() -> None:
    field = ReceptiveField(size=9, stride=8, start=-4)
    torch.testing.assert_close(placed(torch.ones(2, 1, 1), [5, 6], field), torch.ones(2, 5, 6))


def test_half_precision_around_it_changes_nothing() -> None:
    cells = torch.rand(2, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        inside = placed(cells, [40, 40], None)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, placed(cells, [40, 40], None))


@pytest.mark.parametrize("field", [None, ReceptiveField(size=11, stride=8, start=-5)])
def test_gathered_is_a_mean(field: ReceptiveField | None) -> None:
    even = torch.full((2, 24, 32), 0.7)
    torch.testing.assert_close(gathered(even, [3, 4], field), torch.full((2, 3, 4), 0.7))
    point = torch.zeros(1, 24, 32)
    point[0, 8, 16] = 1
    cell = torch.unravel_index(gathered(point, [3, 4], field)[0].argmax(), (3, 4))
    assert cell == (1, 2)


def test_cells_beyond_the_image_hold_nothing() -> None:
    far = ReceptiveField(size=3, stride=8, start=-1)
    found = gathered(torch.ones(1, 4, 4), [3, 3], far)
    assert found.isfinite().all()
    assert found[0, 2, 2] == 0


class Reacts(nn.Module):
    """Its features are a strided chain of means, so that a bright pixel has a bright cell."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(1, 1, 3, 2, 1, bias=False) for _ in range(4)]
        for layer in layers:
            nn.init.constant_(layer.weight, 1 / 9)
        self.features = nn.Sequential(*layers)

    def head(self, activations: Tensor) -> Tensor:
        """Two logits, of which the first counts."""
        total = activations.flatten(1).sum(1, keepdim=True)
        return torch.cat([total, -total], 1)


@pytest.mark.parametrize("spot", [(32, 48), (64, 80)])
def test_a_map_lies_on_what_the_net_saw(spot: tuple[int, int]) -> None:
    images = torch.zeros(1, 1, 112, 112)
    images[0, 0, spot[0], spot[1]] = 1  # of pixels at a cell's centre
    found = explain(Reacts(), images, torch.zeros(1, dtype=torch.int64), method="hirescam")
    assert torch.unravel_index(found[0].argmax(), (112, 112)) == spot


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "densenet121", "lenet", "googlenet"])
def test_the_centre_of_mass_of_the_gradient_is_where_the_cell_is_drawn(name: str) -> None:
    torch.manual_seed(0)
    net = nets.build(name, in_channels=1, num_classes=2, input_size=(96, 96), width=0.25).eval()
    weight = torch.zeros(96, 96)
    cell: tuple[int, ...] = ()
    for _ in range(8):  # random weights: the mean over several images
        images = torch.rand(1, 1, 96, 96, requires_grad=True)
        activations = net.features(images)
        cell = tuple(side // 2 for side in activations.shape[2:])
        (gradient,) = torch.autograd.grad(activations[0, :, cell[0], cell[1]].sum(), images)
        weight += gradient[0, 0].square()
    axis = torch.arange(96.0)
    centre = float((weight.sum(1) * axis).sum() / weight.sum())
    drawn = torch.zeros(1, *activations.shape[2:])
    drawn[0, cell[0], cell[1]] = 1
    field = receptive_field(net)
    assert field is not None
    where = float(placed(drawn, [96, 96], field)[0].amax(1).argmax())
    assert abs(centre - where) <= max(1.5, field.stride / 4)
