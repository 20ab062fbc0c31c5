"""Files of weights, and what is said of those that don't fit."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jobs
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from medcnn import nets
from medcnn.errors import UserError
from medcnn.nets.pretrained.adapt import adapt_channels, inflate
from medcnn.nets.pretrained.weights import Loaded

close = partial(torch.testing.assert_close, atol=1e-5, rtol=1e-5)
AUXILIARY = ["conv.conv.weight"]
AUXILIARY += [f"conv.bn.{key}" for key in ("weight", "bias", "running_mean", "running_var")]
AUXILIARY += [f"fc{i}.{key}" for i in (1, 2) for key in ("weight", "bias")]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def small(name: str = "resnet18", **options: Any) -> nets.Net:
    given: dict[str, Any] = {"in_channels": 1, "num_classes": 2, "width": 0.25}
    return nets.build(name, **(given | options)).eval()


def lenet(**options: Any) -> nets.Net:
    return small("lenet", **({"width": 1.0} | options))


def equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


class TestFiles:
    @pytest.mark.parametrize("name", nets.FAMILIES)
    def test_own_names(self, name: str, tmp_path: Path) -> None:
        def make() -> nets.Net:
            options: dict[str, Any] = {} if name == "linear" else {"width": 0.25}
            shape = (28, 28)
            net = nets.build(name, in_channels=1, num_classes=1, input_size=shape, **options)
            return net.eval()

        saved, loaded = make(), make()
        torch.save(saved.state_dict(), tmp_path / "net = 1.pt")
        report = nets.load_weights(loaded, tmp_path / "net = 1.pt")
        assert report.loaded == [*saved.state_dict()]
        assert not report.dropped
        assert not report.left
        x = torch.randn(1, 1, 28, 28)
        assert torch.equal(loaded(x), saved(x))

    @pytest.mark.parametrize(
        "suffix", [".pt", ".pth", ".safetensors", ".ckpt", ".pt of old", ".anything"]
    )
    def test_kinds(self, suffix: str, tmp_path: Path) -> None:
        saved, loaded, path = lenet(), lenet(), tmp_path / f"é [1]{suffix}"
        if suffix == ".safetensors":
            save_file(saved.state_dict(), path)
        else:
            old = suffix.endswith("old")
            torch.save(saved.state_dict(), path, _use_new_zipfile_serialization=not old)
        nets.load_weights(loaded, str(path))
        assert equal(loaded.state_dict(), saved.state_dict())

    @pytest.mark.parametrize("prefix", ["", "module.", "model.", "net.", "module.net."])
    @pytest.mark.parametrize("key", [None, "state_dict", "model"])
    def test_wrapped(self, key: str | None, prefix: str, tmp_path: Path) -> None:
        saved, loaded = small(), small()
        state: dict[str, Any] = {prefix + k: value for k, value in saved.state_dict().items()}
        torch.save(state if key is None else {key: state, "epoch": 3}, tmp_path / "net.pt")
        nets.load_weights(loaded, tmp_path / "net.pt")
        assert equal(loaded.state_dict(), saved.state_dict())

    def test_published_names_in_a_wrapped_safetensors_file(self, tmp_path: Path) -> None:
        saved, loaded = small(in_channels=3), small(in_channels=3)
        state = {f"module.{key}": value for key, value in jobs.renamed_back(saved).items()}
        assert "module.conv1.weight" in state
        save_file(state, tmp_path / "net.safetensors")
        nets.load_weights(loaded, tmp_path / "net.safetensors")
        assert equal(loaded.state_dict(), saved.state_dict())

    def test_a_checkpoint_by_hand(self, tmp_path: Path) -> None:
        saved, loaded = lenet(), lenet()
        state = {f"net.{key}": value for key, value in saved.state_dict().items()}
        state["objective.class_weights"] = torch.ones(2)
        card = {"in_channels": 1, "class_names": ["low", "high"]}
        torch.save({"state_dict": state, "medcnn": card, "epoch": 3}, tmp_path / "best.ckpt")
        nets.load_weights(loaded, tmp_path / "best.ckpt")
        assert equal(loaded.state_dict(), saved.state_dict())

    def test_a_checkpoint_of_a_training(self, phantom_run: Path) -> None:
        checkpoint = jobs.checkpoint(phantom_run)
        assert checkpoint["medcnn"]["config"]["model"]["name"] == "lenet"
        state = checkpoint["state_dict"]
        net = lenet(num_classes=state["net.head.fc3.bias"].numel())
        report = nets.load_weights(net, phantom_run / "checkpoints" / "best.ckpt")
        assert str(report) == "10 tensors loaded"
        assert all(torch.equal(v, state[f"net.{k}"]) for k, v in net.state_dict().items())

    def test_half_precision(self, tmp_path: Path) -> None:
        saved, loaded = lenet(), lenet()
        torch.save({k: v.half() for k, v in saved.state_dict().items()}, tmp_path / "net.pt")
        nets.load_weights(loaded, tmp_path / "net.pt")
        assert {v.dtype for v in loaded.state_dict().values()} == {torch.float32}
        torch.testing.assert_close(
            dict(loaded.state_dict()), dict(saved.state_dict()), atol=1e-3, rtol=1e-3
        )

    def test_that_are_not_there(self, tmp_path: Path) -> None:
        for name in ("none.pt", "none.safetensors"):
            place = re.escape(str(tmp_path / name))
            with pytest.raises(UserError, match=f"^can't read weights {place}: No such file"):
                nets.load_weights(lenet(), tmp_path / name)
        (tmp_path / "folder.safetensors").mkdir()
        for path in (tmp_path, tmp_path / "folder.safetensors"):
            with pytest.raises(UserError, match=r"^can't read weights "):
                nets.load_weights(lenet(), path)

    @pytest.mark.parametrize(
        "name", ["text", "empty", "bytes", "cut", "cut old", "start of old", "module"]
    )
    def test_that_torch_cannot_load(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / f"{name}.pt"
        torch.save(lenet() if name == "module" else lenet().state_dict(), path)
        whole = path.read_bytes()
        torch.save(lenet().state_dict(), path, _use_new_zipfile_serialization=False)
        old = path.read_bytes()
        contents = {"text": b"not a pickle", "empty": b"", "bytes": bytes(range(256))}
        contents |= {"cut": whole[:-99], "cut old": old[:-99], "start of old": old[:99]}
        path.write_bytes(contents.get(name, whole))
        with pytest.raises(UserError) as error:
            nets.load_weights(lenet(), path)
        assert str(error.value) == (
            f"{path} isn't a file of weights that torch.save wrote, or a damaged one "
            "(of a whole model, save its state_dict)"
        )

    def test_that_safetensors_cannot_load(self, tmp_path: Path) -> None:
        path = tmp_path / "net.safetensors"
        save_file(lenet().state_dict(), path)
        whole = path.read_bytes()
        for data in (b"", b"not tensors", bytes(range(200)), whole[:-5], whole[:99]):
            path.write_bytes(data)
            message = f"^{re.escape(str(path))} isn't a file of weights that safetensors wrote$"
            with pytest.raises(UserError, match=message):
                nets.load_weights(lenet(), path)

    @pytest.mark.parametrize(
        "content",
        [
            {"epoch": 3},
            [torch.zeros(1)],
            torch.zeros(1),
            {0: torch.zeros(1)},
            {"state_dict": {"a": 1}},
        ],
        ids=["numbers", "list", "tensor", "key", "nested"],
    )
    def test_without_a_state_dict(self, content: Any, tmp_path: Path) -> None:
        torch.save(content, tmp_path / "other.pt")
        with pytest.raises(
            UserError, match=r"other\.pt doesn't hold a state dict \(names and tens"
        ):
            nets.load_weights(lenet(), tmp_path / "other.pt")

    def test_an_empty_state_dict(self, tmp_path: Path) -> None:
        torch.save({}, tmp_path / "none.pt")
        with pytest.raises(
            UserError, match=r"^weights don't fit lenet: 4 missing \(features\.c1\."
        ):
            nets.load_weights(lenet(), tmp_path / "none.pt")


class TestAnotherHead:
    def test_of_other_classes(self) -> None:
        theirs, net = small(num_classes=7), small()
        head = {key: value.clone() for key, value in net.head.state_dict().items()}
        report = nets.load_weights(net, jobs.renamed_back(theirs))
        assert equal(net.features.state_dict(), theirs.features.state_dict())
        assert equal(net.head.state_dict(), head)
        assert report == Loaded(
            loaded=[f"features.{key}" for key in net.features.state_dict()],
            dropped=["head.fc.weight (7×128, here 2×128)", "head.fc.bias (7, here 2)"],
            left=["head.fc.weight", "head.fc.bias"],
        )
        assert str(report) == (
            "120 tensors loaded; "
            "dropped head.fc.weight (7×128, here 2×128), head.fc.bias (7, here 2); "
            "drawn anew head.fc.weight, head.fc.bias"
        )

    def test_of_another_kind(self) -> None:
        theirs, net = small(), small(head="attention")
        report = nets.load_weights(net, theirs.state_dict())
        assert torch.equal(
            net.get_parameter("head.fc.weight"), theirs.get_parameter("head.fc.weight")
        )
        assert not report.dropped
        assert report.left == ["head.v.weight", "head.v.bias", "head.w.weight"]
        report = nets.load_weights(small(), net.state_dict())
        assert report.dropped == [
            "head.v.weight (128×128)",
            "head.v.bias (128)",
            "head.w.weight (1×128)",
        ]
        assert not report.left

    def test_of_hidden_layers(self) -> None:
        theirs = small("vgg11", in_channels=3, width=0.1)
        net = small("vgg11", in_channels=3, width=0.1, head="gap")
        report = nets.load_weights(net, jobs.renamed_back(theirs))
        assert equal(net.features.state_dict(), theirs.features.state_dict())
        assert [text.split()[0] for text in report.dropped] == [*theirs.state_dict()][-6:]
        assert report.left == ["head.fc.weight", "head.fc.bias"]

    def test_auxiliary_heads_are_dropped(self) -> None:
        theirs, net = small("googlenet", aux=True), small("googlenet")
        for state in (theirs.state_dict(), jobs.renamed_back(theirs)):
            report = nets.load_weights(net, state)
            dropped = [text.split()[0] for text in report.dropped]
            assert dropped == [f"aux.{part}.{key}" for part in "ad" for key in AUXILIARY]
            assert report.dropped[0] == "aux.a.conv.conv.weight (32×128×1×1)"
            assert not report.left
        expected = theirs.state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in net.state_dict().items())

    def test_auxiliary_heads_that_a_file_lacks(self) -> None:
        theirs, net = small("googlenet"), small("googlenet", aux=True)
        aux = {key: value.clone() for key, value in net.state_dict().items() if key[:4] == "aux."}
        report = nets.load_weights(net, theirs.state_dict())
        assert report.left == [key for key in aux if not key.endswith("num_batches_tracked")]
        assert all(torch.equal(net.state_dict()[key], value) for key, value in aux.items())

    def test_where_all_is_head(self) -> None:
        make = partial(nets.build, "linear", in_channels=1, input_size=(4, 4))
        net, state = make(num_classes=2), make(num_classes=3).state_dict()
        for nothing in (state, {}):
            with pytest.raises(
                UserError, match=r"^weights don't fit linear: not one tensor has a pl"
            ):
                nets.load_weights(net, nothing)


class TestAnotherInput:
    @pytest.mark.parametrize("channels", [1, 2, 4])
    @pytest.mark.parametrize("name", ["alexnet", "vgg", "googlenet", "resnet", "densenet"])
    def test_channels(self, name: str, channels: int) -> None:
        given = {"width": 0.1, "stem": "imagenet"}
        theirs, net = (
            small(name, in_channels=3, **given),
            small(name, in_channels=channels, **given),
        )
        report = nets.load_weights(net, theirs.state_dict())
        assert report.adapted == [f"first convolution adapted from 3 channels to {channels}"]
        assert (
            f"tensors loaded (first convolution adapted from 3 channels to {channels})"
            == str(report).split(" ", 1)[1]
        )
        grey = torch.randn(1, 1, 64, 64)
        with torch.inference_mode():
            expected = theirs(grey.expand(-1, 3, -1, -1))
            close(net(grey.expand(-1, channels, -1, -1)), expected)

    def test_volumes(self) -> None:
        theirs, net = small(in_channels=3), small(spatial_dims=3)
        report = nets.load_weights(net, jobs.renamed_back(theirs))
        assert str(report) == (
            "122 tensors loaded (inflated from 2-D to 3-D, first convolution adapted from 3 "
            "channels to 1)"
        )
        expected = theirs.state_dict()
        for key, value in net.state_dict().items():
            flat = expected[key]
            if key == "features.stem.conv.weight":
                flat = adapt_channels(flat, 1)
            close(value, inflate(flat, value.shape[2]) if flat.ndim == 4 else flat)
        image = torch.randn(1, 1, 32, 32)
        volume = image[:, :, None].expand(-1, -1, 32, -1, -1)
        conv2d, conv3d = (n.get_submodule("features.stem.conv") for n in (theirs, net))
        with torch.inference_mode():
            response = conv3d(volume)[:, :, 5]  # away from the ends
            close(response, conv2d(image.expand(-1, 3, -1, -1)))

    @pytest.mark.parametrize("name", ["vgg", "googlenet", "densenet", "alexnet"])
    def test_volumes_of_other_families(self, name: str) -> None:
        options = {"width": 0.1, "stem": "imagenet"}
        theirs, net = small(name, **options), small(name, spatial_dims=3, **options)
        report = nets.load_weights(net, theirs.state_dict())
        assert report.adapted == ["inflated from 2-D to 3-D"]
        trunk = {key for key in net.state_dict() if key.startswith("features.")}
        assert trunk <= {*report.loaded}

    def test_images_from_weights_of_volumes(self) -> None:
        with pytest.raises(
            UserError, match=r"stem\.conv\.weight is 16×1×7×7×7 but the net needs 16"
        ):
            nets.load_weights(small(), small(spatial_dims=3).state_dict())


class TestAnotherTrunk:
    def test_unknown_and_missing_names(self) -> None:
        state = lenet().state_dict()
        extra = {f"extra.{i}": torch.zeros(1) for i in range(5)}
        message = r"lenet: 5 unknown \(extra\.0, extra\.1, extra\.2, …\); check model and depth$"
        with pytest.raises(UserError, match=message):
            nets.load_weights(lenet(), state | extra)
        del state["features.c3.conv.bias"]
        message = r"1 unknown \(a\), 1 missing \(features\.c3\.conv\.bias\); check"
        with pytest.raises(UserError, match=message):
            nets.load_weights(lenet(), state | {"a": torch.zeros(1)})

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"depth": 34},
                r"80 unknown \(features\.layer1\.2\.conv1\.weight, .*, …\); check model and",
            ),
            (
                {"width": 0.5},
                r"stem\.conv\.weight is 32×1×7×7 but the net needs 16×1×7×7; check model, width ",
            ),
            ({"stem": "small"}, r"is 16×1×3×3 but the net needs 16×1×7×7; .* and stem=imagenet$"),
        ],
    )
    def test_changes_nothing(self, options: dict[str, Any], message: str) -> None:
        net = small("resnet")
        before = {key: value.clone() for key, value in net.state_dict().items()}
        with pytest.raises(UserError, match=f"^weights don't fit resnet18: .*{message}"):
            nets.load_weights(net, small("resnet", **options).state_dict())
        assert equal(net.state_dict(), before)

    def test_only_the_first_convolution_is_adapted(self) -> None:
        state = lenet().state_dict()
        state["features.c3.conv.weight"] = state["features.c3.conv.weight"][:, :3]
        message = r"features\.c3\.conv\.weight is 16×3×5×5 but the net needs 16×6×5×5; check"
        with pytest.raises(UserError, match=message):
            nets.load_weights(lenet(), state)

    def test_another_family(self) -> None:
        with pytest.raises(UserError, match=r"^weights don't fit lenet: .*unknown .*missing"):
            nets.load_weights(lenet(), small().state_dict())


def test_weights_that_hold_nan_are_refused(tmp_path: Path) -> None:
    state = lenet().state_dict()
    name = next(iter(state))
    state[name] = torch.full_like(state[name], torch.nan)
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(UserError, match=rf"nan\.pt: 1 of \d+ tensors hold NaN .*{name}"):
        nets.load_weights(lenet(), tmp_path / "nan.pt")
