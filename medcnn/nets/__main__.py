"""``python -m medcnn.nets``: all nets in a table, or the layers of one."""

import re
import sys
from collections.abc import Iterator
from typing import Any

import yaml

from medcnn.errors import UserError, check_whole_number
from medcnn.jobs.terminal import say, terminal
from medcnn.nets.base import Net, stage_shapes, times
from medcnn.nets.describe import Facts, build_on_meta, count_macs, facts, published_input
from medcnn.nets.receptive_field import stage_fields
from medcnn.nets.variants import VARIANTS, pretrained_file

HELP = """\
python -m medcnn.nets
    All nets: parameters, multiply-accumulates, receptive field, smallest input, weights.

python -m medcnn.nets NAME [input=CxHxW] [classes=N] [option=value ...]
    The layers of one net, with shapes and parameters. NAME is one of the table or a family (resnet,
    with depth=50), input the channels and size of an image, or of a volume: CxDxHxW; options are
    those of conf/model/, library=timm and library=monai among them.

    python -m medcnn.nets resnet18 input=1x64x64 classes=2
    python -m medcnn.nets resnet depth=50 width=0.5 input=1x32x64x64
    python -m medcnn.nets convnext_tiny library=timm"""
ROW = "{:<12}  {:>11}  {:>7}  {:<9}  {:>15}  {:>6}  {:>14}  {}"
HEADER = ROW.format(
    *("name", "parameters", "MACs", "input", "receptive field", "stride", "smallest input"),
    "weights",
)
NOTES = """
MACs: multiply-accumulates for one image of that input, without norms, activations and poolings.
Input: channels×height×width; with 10 classes at 1×28×28, and 1000 at 3×224×224.
Receptive field, stride: of the last map, in px; a linear layer on all pixels has no map.
Smallest input: side in px, with the small / the imagenet stem; stem=auto takes the one that fits.
Weights: that torchvision has for the net.
The layers of one: python -m medcnn.nets NAME [input=CxHxW] [classes=N] [option=value ...]"""
SHOWN_DEPTH = 3  # net, features or head, stage, part of a stage
FIXED = ("name", "in_channels", "num_classes", "spatial_dims", "input_size")


def main(arguments: list[str]) -> int:
    """Print what the arguments ask for; return the exit code.

    That is 0 done, 2 something that the user can put right (one line on stderr), 130 interrupted.
    """
    with terminal():
        try:
            for line in answer(arguments):
                print(line, flush=True)
        except UserError as error:
            # as in training there, where the name is model.name
            return say(str(error).removeprefix("model.name=").removeprefix("model."), 2)
        except KeyboardInterrupt:
            return say("interrupted", 130)
    return 0


def answer(arguments: list[str]) -> Iterator[str]:
    """Yield the lines to print, each as soon as it is known."""
    names = [argument for argument in arguments if "=" not in argument]
    dashed = [argument for argument in arguments if argument.startswith("-")]
    wrong = dashed or names[1:]
    if "--help" in arguments or "-h" in arguments:
        yield HELP
    elif wrong:
        key = wrong[0].lstrip("-").partition("=")[0]
        hint = f"NAME {key}=…, without dashes" if dashed else "one name and option=value"
        raise UserError(f"{wrong[0]}: give {hint}; see --help")
    elif names:
        settings = [argument for argument in arguments if "=" in argument]
        yield from layers(names[0], read_settings(settings))
    elif arguments:
        raise UserError(f"{arguments[0]}: give the name of a net before it; see --help")
    else:
        yield HEADER
        yield from (row(facts(name)) for name in VARIANTS)
        yield NOTES


def row(net: Facts) -> str:
    """Return one line of the table."""
    return ROW.format(
        *(net.name, f"{net.parameters:,}", count(net.macs), times(net.shape)),
        *((net.field.size, net.field.stride) if net.field else ("–", "–")),
        " / ".join(map(str, net.min_sizes)) or "any",
        "ImageNet" if pretrained_file(net.name) else "–",
    )


def count(number: int) -> str:
    """Return a large number in three digits.

    >>> count(1_814_073_344), count(416_520), count(7_840)
    ('1.81 G', '417 k', '7.84 k')
    """
    value, unit = float(number), ""
    for larger in "kMGT":
        if value < 999.5:
            break
        value, unit = value / 1000, f" {larger}"
    digits = 0 if not unit or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f}{unit}"


def layers(name: str, settings: dict[str, Any]) -> Iterator[str]:
    """Yield the layers of one net, then its stages."""
    shape, num_classes = published_input(name)
    if "input" in settings:
        shape = read_shape(str(settings.pop("input")))
    num_classes = settings.pop("classes", num_classes)
    check_whole_number("classes", num_classes, least=1)
    net = build_on_meta(name, shape, num_classes, **settings)
    stem = f" stem={net.stem}" if net.stem else ""
    yield f"{net.name}: input={times(shape)} classes={num_classes}{stem}"
    yield summary(net, shape)
    yield from stages(net, shape)


def summary(net: Net, shape: tuple[int, ...]) -> str:
    """Return torchinfo's table of layers, without weights or images in memory."""
    import torch
    from torchinfo import summary as summarise

    found = summarise(
        net,
        input_data=torch.empty(1, *shape, device="meta"),
        device="meta",
        depth=SHOWN_DEPTH,
        col_names=("output_size", "num_params", "kernel_size", "mult_adds"),
        col_width=len(str([1, 2048, *shape[1:]])) + 1,  # the longest shape, and a space
        row_settings=("var_names",),
        verbose=0,
    )
    return re.sub(r"\(Units\.(.)\w+\)", r"(\1)", str(found))


def stages(net: Net, shape: tuple[int, ...]) -> Iterator[str]:
    """Yield a line for each stage: its map, and what a cell of that sees."""
    if not net.spatial:
        yield f"no feature map; MACs {count(count_macs(net, shape))}"
        return
    line = "{:<12}  {:<17}  {:>6}  {:>15}"
    yield line.format("stage", "map", "stride", "receptive field")
    fields = stage_fields(net)
    for name, size in stage_shapes(net, shape[1:]).items():
        field = fields[name]
        numbers = (field.stride, field.size) if field else ("–", "–")
        yield line.format(name, times(size), *numbers)
    yield f"MACs {count(count_macs(net, shape))}"


def read_settings(arguments: list[str]) -> dict[str, Any]:
    """Return values by key of ``key=value``; a key may begin with ``model.``, as in training."""
    settings = {}
    for argument in arguments:
        key, _, text = argument.partition("=")
        key = key.removeprefix("model.")
        if key in ("pretrained", "weights"):
            raise UserError(f"{argument}: the layers are the same without; leave it out")
        if key in FIXED:
            raise UserError(f"{key}: give NAME, input=CxHxW and classes=N instead; see --help")
        try:
            settings[key] = text if key == "input" else yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"{argument}: can't read the value; quote text with '…'") from error
    return settings


def read_shape(text: str) -> tuple[int, ...]:
    """Return channels and size of an image.

    >>> read_shape("1x64×64")
    (1, 64, 64)
    """
    sides = re.split("[xX×]", text)
    if len(sides) not in (3, 4) or not all(re.fullmatch(r"0*[1-9]\d{0,5}", s) for s in sides):
        raise UserError(
            f"input={text}: give channels and size, such as 1x64x64 or, for a volume, 1x32x64x64"
        )
    return tuple(map(int, sides))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
