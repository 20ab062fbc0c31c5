"""What the layers of a checkpoint make of an image."""

import inspect
import runpy
import shutil
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import jobs
import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from medcnn.classifier.classifier import Classifier
from medcnn.data.image import ImageSpec
from medcnn.data.open_data import make_source
from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.evidence import feature_maps as features
from medcnn.nets import FAMILIES, build
from medcnn.nets.foreign.seam import Permute

SCRIPT = jobs.ROOT / "scripts" / "visualize_features.py"
SPATIAL = [name for name in FAMILIES if name not in ("linear", "mlp")]
SOLID = [name for name in SPATIAL if "spatial_dims" in inspect.signature(FAMILIES[name]).parameters]
NETS = [(name, 2) for name in SPATIAL] + [(name, 3) for name in SOLID]


def draw(*overrides: str, trust: list[str] | None = None) -> list[Path]:
    """Draw pictures in this process; gives their files back."""
    return features.draw_features(
        jobs.compose("features", "accelerator=cpu", *overrides), trust or []
    )


@pytest.fixture(scope="module")
def samples(phantom_run: Path) -> Samples:
    return make_source(jobs.checkpoint(phantom_run)["medcnn"]["config"]["dataset"])


@pytest.fixture
def picture(samples: Samples, tmp_path: Path) -> Path:
    """The first image of the data as a file."""
    path = tmp_path / "scan.1.png"
    Image.fromarray(samples.images[0, 0].numpy()).save(path)
    return path


@pytest.fixture(scope="module")
def classifier(phantom_run: Path) -> Classifier:
    return features.load(phantom_run / "checkpoints" / "best.ckpt")


def plain_net(stages: nn.Module, **more: Any) -> nn.Module:
    """A user's net with these features."""
    net = nn.Module()
    net.features = stages
    for name, value in more.items():
        setattr(net, name, value)
    return net


def names_of(module: nn.Module, x: Tensor) -> list[str]:
    return [name for name, _, _ in features.walk(module, x)]


# Layer by layer


@pytest.mark.no_cover
@pytest.mark.parametrize(("name", "dims"), NETS, ids=[f"{name}-{d}d" for name, d in NETS])
@torch.inference_mode()
def test_the_chain_gives_what_the_net_gives(name: str, dims: int) -> None:
    size = (32,) * dims
    given = {"in_channels": 1, "num_classes": 2, "spatial_dims": dims, "input_size": size}
    net = build(name, width=0.25, **given).eval()
    image = x = torch.rand(1, 1, *size)
    for stage in features.stages_of(net).values():
        expected = stage(x)
        steps, x = features.stage_steps(stage, x, "")
        assert torch.equal(x, expected)
        assert len(steps) > 1
        assert torch.equal(steps[-1].maps, features.middle(expected[0]))
        assert steps[-1].shape == expected.shape[1:]
    assert torch.equal(x, net.features(image))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


def test_a_chain_is_opened_down_to_its_blocks() -> None:
    inner = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 3), relu=nn.ReLU()))
    relu = nn.ReLU()
    chain = nn.Sequential(relu, inner, relu)  # one part used twice
    x = torch.rand(1, 1, 8, 8)
    assert names_of(chain, x) == ["0", "1.conv", "1.relu", "2"]
    assert torch.equal(list(features.walk(chain, x))[-1][2], chain(x))
    assert names_of(nn.ReLU(), x) == ["ReLU"]


class Doubled(nn.Sequential):
    """A Sequential that does something else."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_what_is_no_plain_chain_is_one_step() -> None:
    x = torch.rand(1, 3, 4, 4)
    own = Doubled(nn.ReLU())
    turned = nn.Sequential(Permute((0, 2, 3, 1)), nn.Linear(3, 5), Permute((0, 3, 1, 2)))
    for module in (own, turned):
        ((name, layer, output),) = features.walk(module, x)
        assert (name, layer) == (type(module).__name__, module)
        assert torch.equal(output, module(x))


def test_steps_keep_what_was_before_a_layer_that_works_in_place() -> None:
    conv = nn.Conv2d(1, 4, 3)
    stage = nn.Sequential(conv, nn.Identity(), nn.Dropout(), nn.ReLU(inplace=True)).eval()
    x = torch.rand(1, 1, 8, 8)
    with torch.inference_mode():
        steps, output = features.stage_steps(stage, x, "image")
        assert torch.equal(steps[1].maps, conv(x)[0])
    assert [(s.name, s.layer, s.same_channels) for s in steps] == [
        ("input", "image", False), ("0", "Conv2d 3×3", False), ("3", "ReLU", True),
    ]  # fmt: skip
    assert torch.equal(steps[2].maps, output[0])
    assert (steps[1].maps < 0).any()


def test_layers_that_keep_channels_apart() -> None:
    norms = [nn.BatchNorm2d(3), nn.GroupNorm(1, 3), nn.InstanceNorm2d(3)]
    stage = nn.Sequential(*norms, nn.SiLU(), nn.MaxPool2d(2), nn.Conv2d(3, 3, 1)).eval()
    steps, _ = features.stage_steps(stage, torch.rand(1, 3, 8, 8), "")
    assert [step.same_channels for step in steps] == [False, *[True] * 5, False]


def test_of_volumes_the_middle_slice_is_kept() -> None:
    volume = torch.arange(5.0).view(1, 1, 5, 1, 1).expand(1, 1, 5, 4, 4)
    steps, _ = features.stage_steps(nn.MaxPool3d((1, 2, 2)), volume, "")
    assert [step.shape for step in steps] == [(1, 5, 4, 4), (1, 5, 2, 2)]
    assert [step.maps.unique().tolist() for step in steps] == [[2.0], [2.0]]


def test_outputs_that_are_no_maps() -> None:
    with pytest.raises(UserError, match=r"Flatten: its output has the shape \(1, 16\)"):
        features.stage_steps(nn.Flatten(), torch.rand(1, 1, 4, 4), "")


def test_layers_in_words() -> None:
    assert features.in_words(nn.MaxPool2d(3)) == "MaxPool2d 3×3, stride 3"
    assert features.in_words(nn.Conv3d(1, 1, (1, 3, 3))) == "Conv3d 1×3×3"
    assert features.in_words(nn.AvgPool3d(2, (1, 2, 2))) == "AvgPool3d 2×2×2, stride 1×2×2"
    assert features.in_words(nn.BatchNorm2d(3)) == "BatchNorm2d"


# Which parts of which net


def test_the_maps_of_a_checkpoint(classifier: Classifier, samples: Samples) -> None:
    """Each layer of LeNet, called by hand."""
    image = samples.images[0].float() / 255
    found = features.feature_maps(classifier, image, ["c1", "c3"])
    assert list(found) == ["c1", "c3"]
    x = classifier.normalise(image[None])
    with torch.inference_mode():
        for name, steps in found.items():
            stage = getattr(classifier.net.features, name)
            expected = [x]
            for layer in stage:
                expected.append(layer(expected[-1]))
            assert len(steps) == len(expected)
            for step, maps in zip(steps, expected, strict=True):
                assert torch.equal(step.maps, maps[0])
            x = expected[-1]
    assert [steps[0].layer for steps in found.values()] == ["image, normalised", "output of c1"]
    assert list(features.feature_maps(classifier, image, ["c3"])) == ["c3"]


def test_features_without_stages_are_one() -> None:
    conv = nn.Conv2d(1, 2, 3)
    assert features.stages_of(plain_net(conv)) == {"features": conv}
    assert features.first_convolution(plain_net(conv)) == ("features", conv)


def test_the_first_convolution_is_the_one_nearest_to_the_image() -> None:
    first, second = nn.Conv3d(1, 2, 3), nn.Conv3d(2, 2, 3)
    stages = nn.Sequential(OrderedDict(stem=nn.Sequential(nn.ReLU(), first), last=second))
    assert features.first_convolution(plain_net(stages)) == ("stem.1", first)
    with pytest.raises(UserError, match="no convolution"):
        features.first_convolution(plain_net(nn.Sequential(nn.ReLU())))


# The image


def card(channels: int = 1, intensity_range: Any = None) -> dict[str, Any]:
    return {"in_channels": channels, "intensity_range": intensity_range}


def test_an_image_is_prepared_as_in_training(picture: Path, samples: Samples) -> None:
    spec = ImageSpec(size=(28, 28), channels=1)
    image = features.read_image(picture, spec, card())
    torch.testing.assert_close(image, samples.images[0].float() / 255)
    three = features.read_image(picture, spec, card(channels=3))
    assert three.shape == (3, 28, 28)
    assert torch.equal(three[2], image[0])
    trained = ImageSpec(size=(28, 28), channels=1, intensity="training_percentile")
    image = features.read_image(picture, trained, card(intensity_range=(51, 102)))
    expected = ((samples.images[0].float() - 51) / 51).clamp(0, 1)
    torch.testing.assert_close(image, expected)


def test_of_slices_the_middle_one_is_read(tmp_path: Path) -> None:
    values = np.broadcast_to(np.arange(5, dtype=np.float32), (8, 8, 5))
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    spec = ImageSpec(size=(8, 8), channels=1, slices="all", intensity=(0, 4))
    image = features.read_image(tmp_path / "a.nii.gz", spec, card())
    assert image.shape == (1, 8, 8)
    assert image.unique().tolist() == [0.5]


def test_one_image_is_asked_for(picture: Path) -> None:
    spec = ImageSpec(size=(28, 28))
    assert features.one_image(str(picture), spec) == picture
    assert features.one_image(str(picture.parent), spec) == picture
    shutil.copy(picture, picture.with_name("b.png"))
    with pytest.raises(UserError, match=r"image=.*: these are 2 images; give one, as .*b\.png"):
        features.one_image(str(picture.parent), spec)
    with pytest.raises(UserError, match=r"image=.*none\.png is neither a file"):
        features.one_image(str(picture.parent / "none.png"), spec)


def test_a_file_that_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(UserError, match=r"image=.*a\.png is not an image"):
        features.read_image(tmp_path / "a.png", ImageSpec(size=(28, 28)), card())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.png", "a"), ("a.b.NII.GZ", "a.b"), ("1.2.840.113", "1.2.840.113"), ("series", "series")],
)
def test_what_the_folder_is_called(name: str, expected: str) -> None:
    assert features.stem(Path("x.png") / name) == expected


# The command


def test_pictures_of_all_stages(
    phantom_run: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, output = phantom_run / "checkpoints" / "best.ckpt", tmp_path / "made"
    before = checkpoint.read_bytes()
    written = draw(jobs.best(phantom_run), f"image='{picture}'", f"output='{output}'", "channels=3")
    names = ["filters.png", "kernels.png", "stage_c1.png", "stage_c3.png"]
    assert written == [output / name for name in names]
    assert {path.name for path in output.iterdir()} == set(names)
    assert capsys.readouterr().out.splitlines() == [str(path) for path in written]
    for path in written:
        with Image.open(path) as made:
            assert min(made.size) > 200
    assert checkpoint.read_bytes() == before


def test_one_stage_in_the_run_directory(phantom_run: Path, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    copy = tmp_path / "run" / "checkpoints" / "best.ckpt"
    shutil.copy(phantom_run / "checkpoints" / "best.ckpt", copy)
    written = draw(f"checkpoint='{copy}'", f"image='{picture}'", "stage=c3", "channels=1")
    folder = tmp_path / "run" / "features" / "scan.1"
    assert [path.name for path in written] == ["filters.png", "kernels.png", "stage_c3.png"]
    assert sorted(folder.iterdir()) == written


@pytest.mark.no_cover
def test_a_net_of_ones_own(picture: Path, tmp_path: Path) -> None:
    options = (*jobs.QUICK, "~model.name", f"model._target_={jobs.SMALL_NET}")
    run = jobs.train(tmp_path / "run", *options, "trainer.max_epochs=1", trust=[jobs.SMALL_NET])
    given = (jobs.best(run), f"image='{picture}'", f"output='{tmp_path / 'made'}'", "channels=1")
    every = draw(*given, "stage=null", trust=[jobs.SMALL_NET])
    assert [path.name for path in every[2:]] == ["stage_0.png", "stage_1.png", "stage_2.png"]
    one = draw(*given, "stage=1", "dataset.allow_missing_geometry=true", trust=[jobs.SMALL_NET])
    assert [path.name for path in one[2:]] == ["stage_1.png"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stage=c9", "stage=c9: choose all or one of c1, c3"),
        ("channels=0", "channels=0: give a whole number, 1 … 32"),
        ("channels=33", "channels=33"),
        ("channels=all", "channels=all"),
        ("accelerator=gpu", "accelerator=gpu: torch finds no supported GPU"),
        ("image=none.png", "image=none.png is neither"),
        ("checkpoint=none.ckpt", "checkpoint=none.ckpt: there is no such file"),
    ],
)
def test_bad_input(
    phantom_run: Path, picture: Path, tmp_path: Path, override: str, message: str
) -> None:
    output = tmp_path / "made"
    with pytest.raises(UserError, match=message):
        draw(jobs.best(phantom_run), f"image='{picture}'", f"output='{output}'", override)
    assert not output.exists()


def test_an_output_that_is_a_file(phantom_run: Path, picture: Path) -> None:
    with pytest.raises(UserError, match="is a file; give a folder"):
        draw(jobs.best(phantom_run), f"image='{picture}'", f"output='{picture}'")


def test_a_net_without_maps(picture: Path, tmp_path: Path) -> None:
    run = jobs.train(tmp_path / "run", *jobs.QUICK, "trainer.max_epochs=1", "model=mlp")
    with pytest.raises(UserError, match="features are no maps of the image"):
        draw(jobs.best(run), f"image='{picture}'")
    assert not (run / "features").exists()


def test_the_script(
    phantom_run: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = picture.rename(tmp_path / "odd [1], a=b.png")
    checkpoint = f"checkpoint={phantom_run / 'checkpoints' / 'best.ckpt'}"
    arguments = [checkpoint, f"image={odd}", f"output={tmp_path / 'made'}", "accelerator=cpu"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments, "channels=1"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert (tmp_path / "made" / "stage_c3.png").exists()
