import pytest
import torch
from torch import nn

from medcnn.errors import UserError
from medcnn.nets import build
from medcnn.nets.chunks import in_chunks, uncounted


def trunk(*more: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), *more, nn.ReLU(), nn.Conv2d(4, 3, 3))


def gradients(net: nn.Module, images: torch.Tensor, chunk: int | None) -> list[torch.Tensor]:
    net.zero_grad()
    torch.manual_seed(1)
    in_chunks(net, images, chunk).square().sum().backward()
    return [one.grad.clone() for one in net.parameters() if one.grad is not None]


def test_maps_and_gradients_are_those_of_all_images_at_once() -> None:
    net, images = trunk(), torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(in_chunks(net, images, 2), net(images))
    for chunked, whole in zip(gradients(net, images, 2), gradients(net, images, None), strict=True):
        torch.testing.assert_close(chunked, whole, rtol=1e-4, atol=1e-5)


def test_what_lies_between_is_not_kept() -> None:
    net, images = trunk(), torch.rand(6, 1, 8, 8)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: kept.append(x.numel()) or x, lambda x: x
    ):
        maps = in_chunks(net, images, 2)
    assert sum(kept) < maps.numel() + images.numel()
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: kept.append(x.numel()) or x, lambda x: x
    ):
        net(images)
    assert sum(kept) > 3 * maps.numel()


def test_what_drops_at_random_drops_the_same_again() -> None:
    net, images = trunk(nn.Dropout(0.5)), torch.rand(4, 1, 8, 8)
    chunked = gradients(net, images, 4)
    whole = gradients(net, images, None)
    for one, other in zip(chunked, whole, strict=True):
        torch.testing.assert_close(one, other)


def test_a_batch_norm_counts_each_chunk_once_and_frozen_ones_never() -> None:
    net, images = trunk(nn.BatchNorm2d(4)), torch.rand(4, 1, 8, 8)
    by_hand = trunk(nn.BatchNorm2d(4))
    for part in images.split(2):
        by_hand(part)
    gradients(net, images, 2)
    for own, expected in zip(net.buffers(), by_hand.buffers(), strict=True):
        torch.testing.assert_close(own, expected)
    before = [one.clone() for one in net.eval().buffers()]
    gradients(net, images, 2)
    assert all(map(torch.equal, before, net.buffers()))


def test_a_chunk_that_can_not_be_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.chunk=0"):
        build("lenet", in_channels=1, num_classes=2, input_size=(28, 28), chunk=0)


def test_a_second_pass_of_sam_may_go_in_chunks() -> None:
    net, images = trunk(nn.BatchNorm2d(4)), torch.rand(4, 1, 8, 8)
    before = [one.clone() for one in net.buffers()]
    with uncounted(net):
        loss = in_chunks(net, images, 2).square().sum()
    loss.backward()
    assert all(map(torch.equal, before, net.buffers()))


def test_a_synchronised_batch_norm_takes_a_pass_that_does_not_count() -> None:
    norm = nn.SyncBatchNorm(4)
    before = [one.clone() for one in norm.buffers()]
    with uncounted(norm):
        assert norm.num_batches_tracked is not None  # of which it makes sure
        norm.num_batches_tracked += 1
    assert all(map(torch.equal, before, norm.buffers()))
