"""``python -m medcnn.nets``."""

import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from medcnn import nets
from medcnn.nets import __main__ as command
from medcnn.nets.__main__ import main
from medcnn.nets.variants import VARIANTS

Output = pytest.CaptureFixture[str]
PYTHON = (sys.executable, "-m", "medcnn.nets")


def shown(capsys: Output, *arguments: str) -> list[str]:
    """What is printed, line by line."""
    assert main([*arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


@pytest.mark.no_cover
def test_table(capsys: Output) -> None:
    lines = shown(capsys)
    assert max(map(len, lines)) <= 100
    rows = {line.split()[0]: line for line in lines[1 : 1 + len(VARIANTS)]}
    assert list(rows) == list(VARIANTS)
    numbers = "11,689,512 1.81 G 3×224×224 435 32 8 / 32 ImageNet"
    assert " ".join(rows["resnet18"].split()) == f"resnet18 {numbers}"
    assert " ".join(rows["linear"].split()) == "linear 7,850 7.84 k 1×28×28 – – any –"
    assert " ".join(rows["lenet"].split()) == "lenet 61,706 417 k 1×28×28 14 2 14 –"
    assert {row.rindex("  ") + 2 for row in rows.values()} == {lines[0].index("weights")}


def test_layers(capsys: Output) -> None:
    lines = shown(capsys, "resnet18", "input=1x64x64", "classes=2")
    text = "\n".join(lines)
    assert lines[0] == "resnet18: input=1×64×64 classes=2 stem=small"
    (conv,) = [line for line in lines if "Conv2d (conv)" in line]
    assert "[1, 64, 64, 64]" in conv
    assert conv.split()[-1] == f"{64 * 9 * 64 * 64:,}"
    net = nets.build("resnet18", in_channels=1, num_classes=2, input_size=(64, 64))
    assert f"Total params: {sum(p.numel() for p in net.parameters()):,}" in text
    assert "Units." not in text
    stages = [line.split() for line in lines[-6:-1]]
    assert stages == [
        ["stem", "64×64×64", "1", "3"],
        ["layer1", "64×64×64", "1", "11"],
        ["layer2", "128×32×32", "2", "25"],
        ["layer3", "256×16×16", "4", "53"],
        ["layer4", "512×8×8", "8", "109"],
    ]
    assert lines[-1] == "MACs 2.22 G"


def test_without_input_it_is_the_published_one(capsys: Output) -> None:
    assert shown(capsys, "resnet18")[0] == "resnet18: input=3×224×224 classes=1000 stem=imagenet"
    assert shown(capsys, "lenet")[0] == "lenet: input=1×28×28 classes=10"


def test_families_options_and_volumes(capsys: Output) -> None:
    lines = shown(
        capsys, "resnet", "depth=50", "model.width=0.25", "input=1×32x64X96", "head=attention"
    )
    assert lines[0] == "resnet50: input=1×32×64×96 classes=1000 stem=imagenet"
    assert any("AttentionHead (head)" in line for line in lines)
    assert lines[-2].split() == ["layer4", "512×1×2×3", "32", "427"]


def test_columns_stay_apart(capsys: Output) -> None:
    lines = shown(capsys, "vgg11", "input=1x128x256x256")
    (conv,) = [line for line in lines if "[1, 64, 128, 256, 256]" in line and "Conv3d" in line]
    assert re.search(r"conv1\) +\[1, 64, 128, 256, 256\] +1,792 +\[3, 3, 3\] +15,032,385,536", conv)


def test_a_net_without_a_map(capsys: Output) -> None:
    lines = shown(capsys, "mlp", "hidden=[8, 4]", "input=1x5x5", "classes=2")
    assert lines[-1] == f"no feature map; MACs {25 * 8 + 8 * 4 + 4 * 2}"


def test_a_field_that_is_not_known(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "stage_fields", lambda net: dict.fromkeys(("c1", "c3")))
    assert shown(capsys, "lenet")[-2].split() == ["c3", "16×10×10", "–", "–"]


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["resnet18", "--help"]])
def test_help(capsys: Output, arguments: list[str]) -> None:
    lines = shown(capsys, *arguments)
    assert lines[0] == "python -m medcnn.nets"
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("resnett", "resnett: no such net (did you mean resnet"),
        (
            "resnet18 input=1x4x4",
            "resnet18 with the small stem needs images of at least 8 px, got 4×4",
        ),
        ("mlp input=1x4x4 hidden=3", "hidden=3: give a list of sizes"),
        ("resnet18 input=64x64", "input=64x64: give channels and size, such as 1x64x64"),
        ("resnet18 input=1x64x-3", "input=1x64x-3: give channels and size"),
        ("resnet18 input=0x64x64", "input=0x64x64: give channels and size"),
        ("resnet18 input=1x1x1x1x1", "input=1x1x1x1x1: give channels and size"),
        ("resnet18 input=", "input=: give channels and size"),
        ("resnet18 classes=two", "classes=two: give a whole number, at least 1"),
        ("resnet18 deph=3", "deph: resnet has no such option (did you mean depth"),
        ("resnet18 width=[1", "width=[1: can't read the value"),
        ("resnet18 num_classes=3", "num_classes: give NAME, input=CxHxW and classes=N"),
        ("resnet18 pretrained=true", "pretrained=true: the layers are the same without"),
        ("resnet18 resnet34", "resnet34: give one name and option=value; see --help"),
        ("--depth=34 resnet", "--depth=34: give NAME depth=…, without dashes"),
        ("resnet18 -x", "-x: give NAME x=…, without dashes"),
        ("input=1x64x64", "input=1x64x64: give the name of a net before it; see --help"),
    ],
)
def test_says_what_is_wrong(capsys: Output, arguments: str, message: str) -> None:
    assert main(arguments.split(" ")) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"medcnn: {message}")
    assert err.count("\n") == 1


def test_large_images_cost_no_memory(capsys: Output) -> None:
    assert shown(capsys, "lenet", "input=1x100000x100000")[-2].split()[1] == "16×49996×49996"


def raising(error: BaseException) -> Callable[[str], None]:
    """A function that raises."""

    def fails(name: str) -> None:
        raise error

    return fails


def test_interrupted(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "facts", raising(KeyboardInterrupt()))
    assert main([]) == 130
    assert capsys.readouterr().err == "medcnn: interrupted\n"


def test_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # which is then put back
    monkeypatch.setattr(command, "facts", raising(BrokenPipeError()))
    assert main([]) == 0
    print("this goes nowhere, without an error")


def test_head_of_a_pipe() -> None:
    process = subprocess.Popen(
        PYTHON, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith("name ")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 0


def test_imports_no_training() -> None:
    code = "import sys, medcnn.nets.__main__; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"hydra", "pytorch_lightning", "monai", "timm", "torchvision", "pandas", "matplotlib"}
    assert not heavy & set(found.stdout.split())


def test_large_numbers() -> None:
    numbers = (0, 999, 1000, 9_994, 9_996, 99_960, 999_400, 999_600, 15_470_264_320, 2 * 10**15)
    texts = [
        "0",
        "999",
        "1.00 k",
        "9.99 k",
        "10.0 k",
        "100 k",
        "999 k",
        "1.00 M",
        "15.5 G",
        "2000 T",
    ]
    assert [command.count(number) for number in numbers] == texts
