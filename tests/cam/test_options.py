"""What `explain` is asked for beside a method: targets, objectives, smoothing, wrapped nets."""

from pathlib import Path

import pytest
import torch
from test_maps import TARGETS, batch, toy
from torch import nn

from medcnn.cam import METHODS, explain
from medcnn.cam.maps import OF_THE_INPUT
from medcnn.cam.smoothing import shifted
from medcnn.errors import UserError
from medcnn.nets import build
from medcnn.objective import Objective

DENSE = [method for method in METHODS if method != "cam"]


@pytest.mark.parametrize("method", METHODS)
def test_several_classes_at_once(method: str) -> None:
    net, images = toy(), batch()
    classes = torch.tensor([[0, 1, 2]]).expand(4, 3)
    maps = explain(net, images, classes, method=method)
    assert maps.shape == (4, 3, 12, 16)
    for k in range(3):
        one = explain(net, images, torch.full((4,), k), method=method)
        torch.testing.assert_close(maps[:, k], one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", DENSE)
def test_a_function_as_target(method: str) -> None:
    net, images = toy(head="dense"), batch()
    of_class = explain(net, images, torch.full((4,), 1), method=method)
    of_function = explain(net, images, lambda logits: logits[:, 1], method=method)
    torch.testing.assert_close(of_class, of_function)


@pytest.mark.parametrize("method", DENSE)
@pytest.mark.parametrize("task", ["binary", "multilabel", "ordinal", "regression"])
def test_every_objective(method: str, task: str) -> None:
    objective = Objective(task, 2 if task == "binary" else 3)
    net, images = toy(outputs=objective.num_outputs, head="dense"), batch()
    target = torch.ones(4, dtype=torch.int64)
    maps = explain(net, images, target, method=method, objective=objective)
    same = explain(
        net,
        images,
        lambda logits: objective.score(logits, target[:1].expand(len(logits))),
        method=method,
    )
    torch.testing.assert_close(maps, same)
    assert maps.isfinite().all()


def test_of_quantiles_the_median_is_explained() -> None:
    loss = {"name": "quantile", "levels": [0.1, 0.5, 0.9]}
    objective = Objective("regression", 2, loss=loss)
    net, images = toy(outputs=6), batch()
    second = torch.ones(4, dtype=torch.int64)
    maps = explain(net, images, second, method="cam", objective=objective)
    torch.testing.assert_close(maps, explain(net, images, 4 * second, method="cam"))


def test_binary_sign_of_every_method() -> None:
    """What speaks for one class speaks against the other."""
    objective = Objective("binary", 2, positive=0)
    net, images = toy(outputs=1, head="dense"), batch()
    for method in ("hirescam", "occlusion", "integrated_gradients"):
        first, second = (
            explain(net, images, torch.full((4,), k), method=method, objective=objective)
            for k in (0, 1)
        )
        torch.testing.assert_close(first, -second)
    whole = explain(net, images, torch.zeros(4).long(), method="hirescam", objective=objective)
    by_hand = explain(net, images, lambda given: given[:, 0], method="hirescam")
    torch.testing.assert_close(whole, by_hand)


def test_smoothing_is_the_mean_over_changed_copies() -> None:
    net, images = toy(), batch()
    plain = explain(net, images, TARGETS)
    maps = explain(net, images, TARGETS, smooth=2)
    generator = torch.Generator().manual_seed(0)
    shifts = [int(torch.randint(-1, 2, (1,), generator=generator)) for _ in range(2)]
    changed = shifted(images, shifts).flip(-1)
    second = shifted(explain(net, changed, TARGETS).flip(-1), [-shift for shift in shifts])
    torch.testing.assert_close(maps, (plain + second) / 2)
    net.features = nn.Sequential(nn.Conv2d(1, 5, 1), nn.ReLU())  # each pixel by itself
    alone = explain(net, images, TARGETS)
    for flip in ((), (-1,), (-1, -2)):  # so what was moved and brought back is the same inside
        back = explain(net, images, TARGETS, smooth=4, flip=flip)
        torch.testing.assert_close(back[:, 1:-1, 1:-1], alone[:, 1:-1, 1:-1])
    net = toy()
    both = explain(net, images, TARGETS, smooth=4, flip=(-1, -2))
    assert not torch.allclose(both, explain(net, images, TARGETS, smooth=4))
    decided = explain(net, images, smooth=3)
    torch.testing.assert_close(decided, explain(net, images, net(images).argmax(1), smooth=3))
    several = explain(net, images, TARGETS[:, None], smooth=2)
    torch.testing.assert_close(several[:, 0], maps)
    torch.testing.assert_close(
        explain(net, images, lambda y: y[:, 0], smooth=2),
        explain(net, images, torch.zeros(4).long(), smooth=2),
    )


def test_shifted() -> None:
    values = torch.arange(6.0).reshape(1, 2, 3)
    assert shifted(values, [1, 0]).tolist() == [[[0, 1, 2], [0, 1, 2]]]
    assert shifted(values, [0, -1]).tolist() == [[[1, 2, 2], [4, 5, 5]]]


def test_wrapped_nets() -> None:
    net, images = toy(), batch()
    expected = explain(net, images, TARGETS)
    compiled = torch.compile(net, backend="eager")
    torch.testing.assert_close(explain(compiled, images, TARGETS), expected)
    torch.testing.assert_close(explain(nn.DataParallel(net), images, TARGETS), expected)
    resnet = build("resnet", in_channels=1, num_classes=3, depth=18, width=0.125).eval()
    small = torch.randn(2, 1, 32, 32)
    wrapped = torch.compile(resnet, backend="eager")
    wrapped(small)
    torch.testing.assert_close(explain(wrapped, small), explain(resnet, small))


def test_distributed_nets(tmp_path: Path) -> None:
    net, images = toy(), batch()
    expected = explain(net, images, TARGETS)
    options = {"init_method": f"file://{tmp_path / 'store'}", "rank": 0, "world_size": 1}
    torch.distributed.init_process_group("gloo", **options)
    try:
        wrapped = nn.parallel.DistributedDataParallel(net)
        torch.testing.assert_close(explain(wrapped, images, TARGETS), expected)
        wrapped(images).sum().backward()  # which still works afterwards
    finally:
        torch.distributed.destroy_process_group()


def test_bad_input() -> None:
    net, images = toy(), batch()
    for method in OF_THE_INPUT:
        with pytest.raises(UserError, match=f"method={method} goes back to the image"):
            explain(net, images, method=method, stage="first")
    with pytest.raises(UserError, match="only layercam fuses several stages"):
        explain(net, images, stage=["first", "second"])
    with pytest.raises(UserError, match="have the size of the input"):
        explain(net, images, method="layercam", stage=["first", "second"], size=None)
    with pytest.raises(UserError, match="have the size of the input"):
        explain(net, images, smooth=2, size=None)
    with pytest.raises(UserError, match=r"stage=\[\]"):
        explain(net, images, stage=[])
    for smooth in (-1, 1, 0.5):
        with pytest.raises(UserError, match="smooth"):
            explain(net, images, smooth=smooth)
    with pytest.raises(UserError, match="a function as target has no weights"):
        explain(net, images, lambda logits: logits[:, 0], method="cam")
    with pytest.raises(UserError, match="one score a row, 4 of them"):
        explain(net, images, lambda logits: logits)
    with pytest.raises(UserError, match="or a row of them"):
        explain(net, images, torch.zeros(4, 2, 2, dtype=torch.int64))
