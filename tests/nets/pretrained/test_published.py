"""The weights that torchvision publishes: kept, fetched, and what is said when they can't be."""

import hashlib
import io
from collections.abc import Callable
from email.message import Message
from http.client import IncompleteRead
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request

import pytest
import torch
import torchvision.models as tv
from torch import Tensor

from medcnn import nets
from medcnn.errors import UserError
from medcnn.nets.pretrained.published import published_state

FILE = "resnet18-f37072fd.pth"  # of torchvision's IMAGENET1K_V1
STATE = {"fc.weight": torch.arange(6.0).view(2, 3), "fc.bias": torch.ones(2)}


class Response(io.BytesIO):
    """What the server answers."""

    def info(self) -> Message:
        return Message()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files are kept; the network is away."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "a home"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr("torch.hub.urlopen", raising(URLError("no route to host")))
    return tmp_path / "a home" / "hub" / "checkpoints"


def raising(error: Exception) -> Callable[..., Any]:
    def urlopen(*_: Any) -> Any:
        raise error

    return urlopen


def content(state: dict[str, Tensor], **options: Any) -> bytes:
    """The bytes of a file of weights."""
    file = io.BytesIO()
    torch.save(state, file, **options)
    return file.getvalue()


def same(first: Any, second: Any) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_a_file_that_is_there_is_read(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(content(STATE))
    assert same(published_state("resnet18"), STATE)


def test_downloads_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = content(STATE)
    name = f"resnet18-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    monkeypatch.setattr("medcnn.nets.pretrained.published.pretrained_file", lambda _: name)
    asked = []

    def urlopen(request: Request) -> Response:
        asked.append(request.full_url)
        return Response(data)

    monkeypatch.setattr("torch.hub.urlopen", urlopen)
    for _ in range(2):
        assert same(published_state("resnet18"), STATE)
    assert asked == [f"https://download.pytorch.org/models/{name}"]
    assert (folder / name).read_bytes() == data


def test_a_download_that_is_damaged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.hub.urlopen", lambda _: Response(content(STATE)))
    with pytest.raises(UserError, match=rf"can't get {FILE} \(invalid hash value .*f37072fd") as e:
        published_state("resnet18")
    assert f"put the file at {folder / FILE}, or give" in str(e.value)
    assert "\n" not in str(e.value)
    assert not [*folder.iterdir()], "nothing is kept of it"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (URLError("no route to host"), "no route to host"),
        (HTTPError("https://x", 404, "Not Found", Message(), None), "Not Found"),
        (TimeoutError("timed out"), "timed out"),
        (IncompleteRead(b"abc", 5), "IncompleteRead(3 bytes read, 5 more expected)"),
    ],
)
def test_offline(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    monkeypatch.setattr("torch.hub.urlopen", raising(error))
    with pytest.raises(UserError) as raised:
        published_state("resnet18")
    assert str(raised.value) == (
        f"model.pretrained=true: can't get {FILE} ({reason}); put the file at {folder / FILE}, "
        "or give its place with model.weights=…"
    )


def test_a_home_that_is_no_folder(folder: Path) -> None:
    folder.parents[1].write_text("a file")
    with pytest.raises(UserError, match=rf"can't get {FILE} \(.*; put the file at") as raised:
        published_state("resnet18")
    assert "\n" not in str(raised.value)


ZIPPED, LEGACY = content(STATE), content(STATE, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    "data",
    [b"", b"<html>Not Found</html>", ZIPPED[:-50], LEGACY[:30], LEGACY[:-9]],
    ids=["empty", "text", "zip", "start of old", "old"],
)
def test_a_kept_file_that_is_damaged(folder: Path, data: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(data)
    with pytest.raises(UserError) as raised:
        published_state("resnet18")
    assert str(raised.value) == (
        f"model.pretrained=true: {folder / FILE} can't be read; delete it to download it anew"
    )


def test_a_kept_file_with_code_is_not_run(folder: Path) -> None:
    folder.mkdir(parents=True)
    torch.save(torch.nn.Linear(2, 3), folder / FILE)
    with pytest.raises(UserError, match=f"{FILE} can't be read; delete it"):
        published_state("resnet18")


@pytest.mark.parametrize("name", ["lenet", "alexnet_2012", "resnet18[:layer2]", "nothing"])
def test_nets_that_nobody_published(folder: Path, name: str) -> None:
    with pytest.raises(UserError) as raised:
        published_state(name)
    assert str(raised.value) == (
        f"model.pretrained=true: there are no published weights of {name} "
        "(see python -m medcnn.nets); give a file of your own with model.weights=…"
    )


def test_build_with_published_weights(folder: Path) -> None:
    torch.manual_seed(0)
    theirs = tv.resnet18(num_classes=7).eval()
    folder.mkdir(parents=True)
    torch.save(theirs.state_dict(), folder / FILE)
    net = nets.build("resnet18", in_channels=3, num_classes=2, input_size=(40, 40), pretrained=True)
    assert net.stem == "imagenet", "whatever the size"
    assert str(net.loaded) == (
        "120 tensors loaded; dropped head.fc.weight (7×512, here 2×512), head.fc.bias (7, here 2); "
        "drawn anew head.fc.weight, head.fc.bias"
    )
    x = torch.randn(1, 3, 40, 40)
    with torch.inference_mode():
        expected = torch.nn.Sequential(*[*theirs.children()][:-2])(x)
        torch.testing.assert_close(net.eval().features(x), expected, atol=1e-5, rtol=1e-5)
