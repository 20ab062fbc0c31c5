"""Maps and importance of the images of studies, of nets whose answers are known."""

from collections.abc import Mapping
from itertools import pairwise

import pytest
import torch
from refusals import refused
from test_maps import toy
from torch import Tensor, nn

from medcnn.cam import METHODS, explain
from medcnn.cam.channels import gradient_times_input, removing
from medcnn.cam.maps import OF_STUDIES
from medcnn.cam.methods import layercam, resized
from medcnn.cam.studies import attention, leaving_out, means_if_enough
from medcnn.nets import build

BAG = torch.tensor([0, 0, 0, 1, 2, 2])


class MeanOfImages(nn.Module):
    """The mean of each study's maps, and a linear layer; and weights that were given."""

    def __init__(self, classes: int = 2, channels: int = 3) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, classes)

    def forward(self, maps: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        """Return logits (B, classes)."""
        parts = maps.flatten(2).mean(2).split(torch.bincount(context["bag"]).tolist())
        logits: Tensor = self.fc(torch.stack([part.mean(0) for part in parts]))
        return logits

    def weights(self, maps: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        """Return the order of the images."""
        return context["order"] / 10


def head() -> MeanOfImages:
    torch.manual_seed(0)
    return MeanOfImages()


def maps(channels: int = 3) -> Tensor:
    return torch.randn(len(BAG), channels, 4, 4, generator=torch.Generator().manual_seed(1))


def test_the_effect_of_leaving_an_image_out_of_a_mean() -> None:
    """w · (mean of all − mean of the rest) = w · (h_k − mean) / (n − 1), of each study's class."""
    net, targets = head(), torch.tensor([1, 0, 1])
    effects = leaving_out(
        net, maps(), {"bag": BAG}, lambda logits: logits.gather(1, targets[:, None])[:, 0]
    )
    pooled, start = maps().flatten(2).mean(2), 0
    for target, count in zip(targets.tolist(), [3, 1, 2], strict=True):
        own = pooled[start : start + count]
        expected = ((own - own.mean(0)) @ net.fc.weight[target] / (count - 1)).detach()
        if count == 1:
            assert effects[start].isnan()
        else:
            torch.testing.assert_close(effects[start : start + count], expected)
        start += count


def test_what_is_known_of_images_goes_with_them_and_columns_stay() -> None:
    seen = []

    def listen(maps: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        assert all(len(context[key]) == len(maps) for key in ("bag", "view"))
        assert context["features"].tolist() == [[7.0], [8.0], [9.0]]
        seen.append(context["view"].tolist())
        return torch.zeros(3, 1)

    context = {"bag": BAG, "view": torch.arange(6), "features": torch.tensor([[7.0], [8.0], [9.0]])}
    leaving_out(listen, maps(), context, lambda logits: logits[:, 0])
    trial = 2  # whether means of maps are enough
    assert seen[trial:] == [[0, 1, 2, 3, 4, 5], [1, 2, 3, 5], [0, 2, 3, 4], [0, 1, 3, 4, 5]]


@pytest.mark.parametrize(("kind", "size"), [("gap", 1), ("lse", 4)])
def test_means_of_maps_stand_for_them_where_a_head_takes_no_more(kind: str, size: int) -> None:
    net = build("resnet", in_channels=1, num_classes=2, width=0.125, head=kind, aggregate="mean",
                input_size=(32, 32)).eval()  # fmt: skip
    some = torch.rand(len(BAG), net.head.fc.in_features, 4, 4)  # type: ignore[union-attr]
    assert means_if_enough(net.head, some, {"bag": BAG}).shape[2:] == (size, size)


def test_attention_is_the_heads_own() -> None:
    context = {"bag": BAG, "order": torch.arange(6)}
    assert attention(head(), maps(), context).tolist() == pytest.approx(  # type: ignore[union-attr]
        [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    )
    assert attention(nn.Flatten(), maps(), context) is None


def study_net(aggregate: str = "mean") -> nn.Module:
    torch.manual_seed(0)
    net = build("resnet", in_channels=1, num_classes=2, width=0.125, depth=18, aggregate=aggregate,
                input_size=(32, 32))  # fmt: skip
    return net.eval()


def images(count: int = 6) -> Tensor:
    return torch.randn(count, 1, 32, 32, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "layercam"])
def test_maps_of_a_study_are_those_of_its_mean(method: str) -> None:
    """Of a mean each of n images has 1/n of the gradient, and so of the map that it has alone."""
    net, targets = study_net(), torch.tensor([1, 0, 1])
    found = explain(net, images(), targets, method=method, context={"bag": BAG})
    alone = explain(net, images(), targets[BAG], method=method)
    counts = torch.bincount(BAG)[BAG].reshape(-1, 1, 1)
    torch.testing.assert_close(found, alone / counts, rtol=1e-4, atol=1e-6)


def test_a_study_is_explained_as_in_its_batch() -> None:
    net, targets = study_net("attention"), torch.tensor([1, 0, 1])
    for method in OF_STUDIES:
        whole = explain(net, images(), targets, method=method, context={"bag": BAG})
        last = explain(
            net,
            images()[4:],
            targets[2:],
            method=method,
            context={"bag": torch.zeros_like(BAG[4:])},
        )
        torch.testing.assert_close(whole[4:], last, rtol=1e-3, atol=1e-5)


def test_several_stages_have_one_scale_in_a_study() -> None:
    """tanh(2 M / max M) with the maximum of the study, written out."""
    net, target = study_net(), torch.tensor([1])
    context = {"bag": torch.zeros(3, dtype=torch.int64)}
    stages = list(dict(net.features.named_children()))[-2:]  # type: ignore[union-attr, operator]
    fused = explain(net, images(3), target, method="layercam", stage=stages, context=context)
    a = net.features[:-1](images(3)).detach().requires_grad_()  # type: ignore[index]
    b = net.features[-1](a)  # type: ignore[index]
    score = net.head(b, context)[0, 1]  # type: ignore[operator]
    gradients = torch.autograd.grad(score, [a, b])
    scaled = []
    for activations, gradient in zip((a, b), gradients, strict=True):
        one = resized(layercam(activations, gradient), images().shape[2:])
        scaled.append(torch.tanh(2 * one / one.max()))
    torch.testing.assert_close(fused, torch.stack(scaled).amax(0).detach())


@pytest.mark.parametrize("method", [method for method in METHODS if method not in OF_STUDIES])
def test_methods_for_single_images_are_refused(method: str) -> None:
    with refused(f"method={method}: made for images that are decided on alone"):
        explain(study_net(), images(), method=method, context={"bag": BAG})


def test_smoothed_and_chunked_maps_of_studies() -> None:
    net, context = study_net("gated"), {"bag": BAG}
    whole = explain(net, images(), context=context, smooth=2)
    assert whole.shape == (6, 32, 32)
    net.chunk = 4  # type: ignore[assignment]
    torch.testing.assert_close(explain(net, images(), context=context, smooth=2), whole)


def test_without_studies_all_stays() -> None:
    """A net of single images takes no context."""
    net = toy()
    picture = torch.randn(2, 1, 12, 16)
    assert explain(net, picture).shape == (2, 12, 16)


WEIGHTS = torch.tensor([1.0, -2.0, 0.5, 0.0])


def by_channel(images: Tensor) -> Tensor:
    """A linear net: the weighted sum of the channels' means."""
    return images.flatten(2).mean(2) @ WEIGHTS


def test_channels_of_a_linear_net() -> None:
    """Without a channel its own part of the sum is gone; its gradient is its weight / pixels."""
    pictures, groups = torch.randn(5, 4, 3, 3), [[0], [1, 3], [2]]
    parts = pictures.flatten(2).mean(2) * WEIGHTS
    expected = torch.stack([parts[:, group].sum(1) for group in groups], 1)
    torch.testing.assert_close(removing(pictures, groups, by_channel), expected)
    products = (pictures * WEIGHTS.view(1, -1, 1, 1) / 9).abs().flatten(2).mean(2)
    wanted = torch.stack([products[:, group].mean(1) for group in groups], 1)
    with torch.inference_mode():
        torch.testing.assert_close(gradient_times_input(pictures, groups, by_channel), wanted)


def test_a_channel_is_removed_from_all_images_of_a_study() -> None:
    def of_study(images: Tensor) -> Tensor:
        starts = [0, 3, 4, 6]
        return torch.stack([by_channel(images[a:b]).mean() for a, b in pairwise(starts)])

    pictures = torch.randn(6, 4, 3, 3)
    effects = removing(pictures, [[1]], of_study)
    own = pictures[:3, 1].mean() * WEIGHTS[1]
    assert effects.shape == (3, 1)
    assert float(effects[0]) == pytest.approx(float(own), abs=1e-5)
