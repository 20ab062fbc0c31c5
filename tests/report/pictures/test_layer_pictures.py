from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import texts
from matplotlib.figure import Figure
from torch import Tensor

from medcnn.nets.classic_kernels import CLASSIC, respond
from medcnn.report.pictures.layers import (
    MOST_LAYERS,
    Step,
    draw_filters,
    draw_kernels,
    draw_stage,
    span,
    strongest,
)
from medcnn.report.words import digits

BAR = (255, 1)  # shape of what a colour bar shows
Draw = Callable[..., Figure]


@pytest.fixture
def draw(figures: list[Figure], tmp_path: Path) -> Draw:
    """A function that draws a picture and returns its figure."""

    def drawn(function: Callable[..., None], *given: Any, **options: Any) -> Figure:
        function(*given, tmp_path / "x.png", title="a title", **options)
        return figures[-1]

    return drawn


def images(figure: Figure) -> list[np.ndarray]:
    """What each tile shows, in order; colour bars are left out."""
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    return [values for values in shown if values.shape != BAR]


def limits(figure: Figure) -> list[tuple[float, float]]:
    """The scale of each tile, in the same order."""
    found = [axes.images[0] for axes in figure.axes]
    return [image.get_clim() for image in found if np.shape(image.get_array()) != BAR]


def step(name: str, maps: Tensor, same_channels: bool = False) -> Step:
    return Step(name, f"what {name} is", tuple(maps.shape), maps, same_channels)


def levels(*values: float) -> Tensor:
    """Maps (K, 4, 4) of one value each."""
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1).expand(-1, 4, 4)


# Filters


def test_filters_of_one_channel(draw: Draw) -> None:
    weight = torch.randn(6, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    figure = draw(draw_filters, weight)
    for shown, expected in zip(images(figure), weight[:, 0], strict=True):
        np.testing.assert_array_equal(shown, expected)
    limit = float(weight.abs().max())
    assert limits(figure) == [(-limit, limit)] * 6
    words = texts(figure)
    assert f"6 filters of 5×5 on 1 channel, weights {span(weight)}" in words
    assert "red is positive, blue negative, white 0" in words
    assert words[:1] == ["a title"]
    assert [word for word in words if word in "012345"] == ["0", "1", "2", "3", "4", "5", "0"]
    assert digits(limit) in words


def test_filters_of_colours(draw: Draw) -> None:
    weight = torch.zeros(2, 3, 1, 1)
    weight[0, :, 0, 0] = torch.tensor([2.0, 0, -2])
    figure = draw(draw_filters, weight)
    assert [shown[0, 0].tolist() for shown in images(figure)] == [[1, 0.5, 0], [0.5, 0.5, 0.5]]
    assert "colour: the weights of red, green and blue; middle grey is 0" in texts(figure)


def test_of_filters_of_other_channels_the_first_is_shown(draw: Draw) -> None:
    weight = torch.arange(16.0).view(2, 2, 2, 2)
    figure = draw(draw_filters, weight)
    assert [shown[0, 0] for shown in images(figure)] == [0, 8]
    assert "the weights of the first channel, red is positive, blue negative, white 0" in texts(
        figure
    )


def test_of_filters_for_volumes_the_middle_slice_is_shown(draw: Draw) -> None:
    weight = torch.arange(3.0).view(1, 1, 3, 1, 1).expand(1, 1, 3, 5, 5)
    figure = draw(draw_filters, weight)
    assert [np.unique(shown).tolist() for shown in images(figure)] == [[1.0]]
    assert "1 filter of 3×5×5 on 1 channel, weights 0 … 2" in texts(figure)
    assert "the middle slice, red is positive, blue negative, white 0" in texts(figure)


def test_of_many_filters_the_first_are_shown(draw: Draw) -> None:
    figure = draw(draw_filters, torch.ones(96, 1, 3, 3))
    assert len(images(figure)) == 64
    assert "the first 64 of 96 filters of 3×3 on 1 channel, weights 1 … 1" in texts(figure)


def test_filters_that_are_all_zero(draw: Draw) -> None:
    figure = draw(draw_filters, torch.zeros(1, 1, 3, 3))
    assert limits(figure) == [(-1.0, 1.0)]


# A stage


def test_a_row_for_each_layer_and_a_column_for_each_channel(draw: Draw) -> None:
    steps = [
        step("input", levels(0.5)),
        step("conv", levels(1.0, -3.0, 2.0)),
        step("relu", levels(1.0, 0.0, 2.0), same_channels=True),
    ]
    picture = torch.linspace(0, 1, 16).view(1, 4, 4)
    figure = draw(draw_stage, steps, picture, channels=2)
    image, *tiles = images(figure)
    np.testing.assert_array_equal(image, picture[0])
    assert [float(tile[0, 0]) for tile in tiles] == [0.5, 2, 1, 2, 1]
    assert limits(figure) == [(0, 1), (-0.5, 0.5), *[(-2, 2)] * 4]
    words = texts(figure)
    for layer in steps:
        assert {layer.name, layer.layer, f"{layer.shape[0]} × 4×4", span(layer.maps)} <= {*words}
    channels = [word for word in words if word in ("0", "1", "2")]
    assert channels.count("2") == 1 + 2  # above its column once, and on two scales
    assert not any("layers are shown" in word for word in words)
    first, second = (axes.get_position() for axes in figure.axes[4:6])
    assert first.x0 < second.x0
    assert first.y0 == second.y0


def test_a_colour_image_is_shown_in_colour(draw: Draw) -> None:
    picture = torch.rand(3, 4, 6)
    figure = draw(draw_stage, [step("input", torch.rand(3, 4, 6))], picture, channels=8)
    np.testing.assert_array_equal(images(figure)[0], picture.permute(1, 2, 0))
    assert "4×6" in texts(figure)
    assert len(images(figure)) == 4


def test_of_a_long_stage_some_layers_are_left_out(draw: Draw) -> None:
    steps = [step(f"layer{k}", levels(float(k))) for k in range(30)]
    figure = draw(draw_stage, steps, torch.zeros(1, 4, 4), channels=1)
    values = [float(tile[0, 0]) for tile in images(figure)[1:]]
    assert len(values) == MOST_LAYERS
    assert (values[0], values[-1]) == (0, 29)
    assert values == sorted(set(values))
    assert "11 of the 29 layers are shown." in texts(figure)


def test_of_volumes_it_is_said_that_a_slice_is_shown(draw: Draw) -> None:
    steps = [Step("input", "image", (1, 8, 4, 4), levels(1.0), same_channels=False)]
    words = texts(draw(draw_stage, steps, torch.zeros(1, 4, 4), channels=1))
    assert "1 × 8×4×4" in words
    assert "Of each volume the middle slice is shown, and its range is given." in words


def test_maps_that_are_all_zero_are_white(draw: Draw) -> None:
    figure = draw(draw_stage, [step("relu", levels(0.0))], torch.zeros(1, 4, 4), channels=1)
    assert limits(figure)[1] == (-1, 1)


def test_rows_do_not_overlap_whatever_the_shape(draw: Draw) -> None:
    for shape in ((4, 40), (40, 4)):
        steps = [step("a", torch.rand(1, *shape)), step("b", torch.rand(1, *shape))]
        figure = draw(draw_stage, steps, torch.rand(1, *shape), channels=1)
        tops = [axes.get_position().y1 for axes in figure.axes if axes.images]
        bottoms = [axes.get_position().y0 for axes in figure.axes]
        assert bottoms[0] > tops[1]
        assert bottoms[1] > tops[3]
        assert min(bottoms) >= 0


def test_the_strongest_channels_lead() -> None:
    maps = torch.zeros(4, 2, 2)
    maps[1] = -1.0  # the absolute value counts
    maps[2, 0, 0] = 2.0  # and the mean, not the maximum
    assert strongest([step("conv", maps)], 3) == [[1, 2, 0]]


def test_columns_stay_until_a_layer_mixes_channels() -> None:
    steps = [
        step("input", levels(1, 2)),
        step("pool", levels(3, 2), same_channels=True),
        step("conv", levels(1, 2, 3)),
        step("norm", levels(3, 2, 1), same_channels=True),
        step("relu", levels(0, 2, 1), same_channels=True),
        step("block", levels(1, 0, 0)),
    ]
    chosen = strongest(steps, 2)
    assert chosen == [[0, 1], [0, 1], [1, 2], [1, 2], [1, 2], [0, 1]]
    assert chosen[0] is chosen[1]
    assert chosen[2] is chosen[3] is chosen[4]
    assert chosen[5] is not chosen[0]


def test_a_layer_that_halves_the_channels_starts_new_columns() -> None:
    steps = [step("conv", levels(1, 2, 3, 4)), step("glu", levels(2, 1), same_channels=True)]
    assert strongest(steps, 4) == [[3, 2, 1, 0], [0, 1]]


# Kernels


def test_each_kernel_with_its_numbers_and_its_response(draw: Draw) -> None:
    image = torch.rand(6, 8, generator=torch.Generator().manual_seed(0))
    answers = [(kernel, respond(image, kernel)) for kernel in CLASSIC]
    figure = draw(draw_kernels, answers)
    shown, scales, words = images(figure), limits(figure), texts(figure)
    assert len(shown) == 16
    for k, (kernel, response) in enumerate(answers):
        np.testing.assert_array_equal(shown[2 * k], kernel.numbers)
        np.testing.assert_array_equal(shown[2 * k + 1], response)
        low, high = scales[2 * k + 1]
        limit = float(response.abs().max())
        assert (low, high) == ((-limit, limit) if kernel.signed else (0, 1))
        assert {kernel.name, kernel.effect, f"result {span(response)}"} <= {*words}
        assert {f"black {digits(low)}", f"white {digits(high)}"} <= {*words}
        inside = [text.get_text() for text in figure.axes[2 * k].texts]
        assert inside == [digits(v) for row in kernel.numbers for v in row]
    assert [word for word in words if "divided" in word] == ["divided by 9", "divided by 256"]


def test_a_flat_image_has_no_edges(draw: Draw) -> None:
    sobel = next(kernel for kernel in CLASSIC if kernel.signed)
    figure = draw(draw_kernels, [(sobel, torch.zeros(4, 40))])
    assert limits(figure)[1] == (-1, 1)


def test_a_long_title_is_cut_and_no_formula(tmp_path: Path) -> None:
    draw_filters(torch.ones(1, 1, 3, 3), tmp_path / "a.png", title="$\\nothing$ " * 30)
    assert (tmp_path / "a.png").exists()
