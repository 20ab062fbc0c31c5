"""What maps leave behind, which is nothing, and in which contexts they can be made."""

import copy
import gc

import pytest
import torch
from test_maps import TARGETS, batch, toy
from torch import Tensor

from medcnn.cam import explain


def count_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


@pytest.mark.parametrize("method", ["cam", "gradcam"])
def test_nothing_is_left_behind(method: str) -> None:
    net, images = toy(), batch()
    net.train()
    net.features.second[2].eval()  # a mixture of modes must stay as it is
    net.head[2].p = 0.0
    modes = {name: module.training for name, module in net.named_modules()}
    state = copy.deepcopy(net.state_dict())
    version = images._version
    explain(net, images, TARGETS, method=method)
    tensors = count_tensors()
    for _ in range(3):
        explain(net, images, TARGETS, method=method)
    assert count_tensors() == tensors
    assert {name: module.training for name, module in net.named_modules()} == modes
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(parameter.requires_grad for parameter in net.parameters())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    assert not any(getattr(module, hook) for module in net.modules() for hook in hooks)
    assert images.grad is None
    assert images._version == version
    assert torch.is_grad_enabled()


def test_result_carries_no_graph() -> None:
    for method in ("cam", "gradcam"):
        maps = explain(toy(), batch().requires_grad_(), TARGETS, method=method)
        assert not maps.requires_grad
        assert maps.dtype == torch.float32


@pytest.mark.parametrize(
    ("method", "stage"), [("cam", "last"), ("gradcam", "last"), ("gradcam", "first")]
)
def test_without_gradients(method: str, stage: str) -> None:
    net, images = toy(), batch()
    expected = explain(net, images, TARGETS, method=method, stage=stage)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            inner = batch()  # an inference tensor
            targets = TARGETS + 0
            maps = explain(net, inner, targets, method=method, stage=stage)
            decided = explain(net, inner, method=method, stage=stage)
            assert torch.is_inference_mode_enabled() == (context is torch.inference_mode)
            assert not torch.is_grad_enabled()
        torch.testing.assert_close(maps, expected)
        torch.testing.assert_close(decided, explain(net, images, method=method, stage=stage))
    net.requires_grad_(False)
    torch.testing.assert_close(explain(net, images, TARGETS, method=method, stage=stage), expected)


def test_memory_format_and_autocast() -> None:
    net, images = toy(), batch()
    expected = explain(net, images, TARGETS)
    net = net.to(memory_format=torch.channels_last)
    maps = explain(net, images.to(memory_format=torch.channels_last), TARGETS)
    torch.testing.assert_close(maps, expected)
    with torch.autocast("cpu", torch.bfloat16):
        for method in ("cam", "gradcam"):
            maps = explain(net, images, TARGETS, method=method)
            exact = explain(toy(), images, TARGETS, method=method)
            assert maps.dtype == torch.float32
            assert (maps - exact).abs().max() < 0.03 * exact.abs().max()


def test_autocast_cache_of_the_caller() -> None:
    net, images = toy(), batch()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        net(images)  # casts the weights to inference tensors, and autocast keeps them
        explain(net, images, TARGETS)
    with torch.autocast("cpu", torch.bfloat16):
        explain(net, images, TARGETS)
        net(images).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
