"""The filters of a net, and what its layers make of an image."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from medcnn.classifier.checkpoint import load
from medcnn.classifier.classifier import Card, Classifier
from medcnn.data.batches import unit_intensity
from medcnn.data.image import ImageSpec, spec_of
from medcnn.data.image_files import list_images, stem
from medcnn.data.inputs import as_asked, read_input
from medcnn.errors import UserError
from medcnn.jobs.atomic_files import check_folder
from medcnn.jobs.hardware import device_of
from medcnn.jobs.settings.commands import Features
from medcnn.nets.base import parts_of, stages_of
from medcnn.nets.classic_kernels import CLASSIC, grey, respond
from medcnn.nets.foreign.seam import Permute
from medcnn.report.pictures.layers import Step, draw_filters, draw_kernels, draw_stage

ONE_TO_ONE = tuple(  # modules with layers whose channel k is made of channel k
    f"torch.nn.modules.{kind}"
    for kind in ("activation", "batchnorm", "instancenorm", "normalization", "pooling")
)
UNCHANGED = (nn.Identity, nn.modules.dropout._DropoutNd)  # in evaluation mode


def draw_features(cfg: Features, trust: list[str]) -> list[Path]:
    """Make the pictures that conf/features.yaml describes; return their files.

    `trust` has names that the checkpoint's config may hold beside medcnn's own.

    Raises:
        UserError: Anything that the user can put right; then no file was written.
    """
    classifier = load(cfg.checkpoint, trust=trust).to(device_of(cfg.accelerator))
    stages = chosen_stages(classifier, "all" if cfg.stage is None else str(cfg.stage))
    layer, convolution = first_convolution(classifier.net)
    spec = as_asked(spec_of(classifier.card), cfg.dataset)
    path = one_image(cfg.image, spec)
    run = Path(cfg.checkpoint).resolve().parent.parent
    output = Path(cfg.output or run / "features" / stem(path))
    if output.exists() and not output.is_dir():
        raise UserError(f"output={output} is a file; give a folder")
    check_folder(f"output={output}", output)
    image = read_image(path, spec, classifier.card)
    steps = feature_maps(classifier, image, stages)
    net = getattr(classifier.net, "name", type(classifier.net).__name__)
    written = [output / "filters.png", output / "kernels.png"]
    draw_filters(convolution.weight.detach().cpu(), written[0], title=f"{net}: filters of {layer}")
    picture = middle(image)
    answers = [(kernel, respond(grey(picture), kernel)) for kernel in CLASSIC]
    part = " (middle slice)" if image.ndim == 4 else ""
    draw_kernels(answers, written[1], title=f"the classic kernels on {path.name}{part}")
    for name, chain in steps.items():
        written.append(output / f"stage_{name}.png")
        title = f"{net}, stage {name}: {path.name}"
        draw_stage(chain, picture, written[-1], title=title, channels=cfg.channels)
    print("\n".join(map(str, written)), flush=True)
    return written


def chosen_stages(classifier: Classifier, wanted: str) -> list[str]:
    """Return the names of the stages to draw: the one that is wanted, or of "all" each."""
    if not classifier.spatial:
        raise UserError("this net's features are no maps of the image: there is nothing to draw")
    names = list(stages_of(classifier.net))
    if wanted == "all":
        return names
    if wanted not in names:
        raise UserError(f"stage={wanted}: choose all or one of {', '.join(names)}")
    return [wanted]


def first_convolution(net: nn.Module) -> tuple[str, nn.Conv2d | nn.Conv3d]:
    """Return the convolution nearest to the image, and its name within ``net.features``."""
    features = net.features
    assert isinstance(features, nn.Module)
    for name, part in features.named_modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d):
            return name or "features", part
    raise UserError("this net has no convolution, so there are no filters to draw")


def one_image(image: str, spec: ImageSpec) -> Path:
    """The one image that a path means: a file, or of volumes the folder of a DICOM series.

    Raises:
        UserError: None, or several.
    """
    volumes = spec.spatial_dims == 3 or spec.slices is not None
    paths = list_images(image, volumes=volumes, key="image")
    if len(paths) > 1:
        raise UserError(f"image={image}: these are {len(paths)} images; give one, as {paths[0]}")
    return paths[0]


def read_image(path: Path, spec: ImageSpec, card: Card) -> Tensor:
    """Return an image (C, *spatial) in 0 … 1, prepared as those of the training.

    Of a volume that a 2-D net sees slice by slice it is the middle slice.
    """
    try:
        found = read_input(path, spec, card["in_channels"])
    except UserError as error:
        raise UserError(f"image={path} {error}") from error
    middle_one = found.stored[len(found.stored) // 2][None]
    pair = torch.tensor([found.pair or card["intensity_range"]]).float()
    return unit_intensity(middle_one, pair)[0]


@torch.inference_mode()
def feature_maps(classifier: Classifier, image: Tensor, stages: list[str]) -> dict[str, list[Step]]:
    """Return the pictures of the chosen stages: their input, then each layer's output, in order.

    The classifier is in evaluation mode, and the image (C, *spatial) in 0 … 1.
    """
    found = {}
    with classifier.autocast():
        x, source = classifier.normalise(image[None].to(classifier.device)), "image, normalised"
        for name, stage in stages_of(classifier.net).items():
            steps, x = stage_steps(stage, x, source)
            if name in stages:
                found[name] = steps
            source = f"output of {name}"
    return found


def stage_steps(stage: nn.Module, x: Tensor, source: str) -> tuple[list[Step], Tensor]:
    """Return the pictures of a stage on x (1, K, *spatial) from a source, and its output."""
    steps = [step("input", source, x, same_channels=False)]
    for name, layer, output in walk(stage, x):
        x = output
        if not isinstance(layer, UNCHANGED):
            same = type(layer).__module__ in ONE_TO_ONE
            steps.append(step(name, in_words(layer), x, same_channels=same))
    return steps, x


def walk(module: nn.Module, x: Tensor, name: str = "") -> Iterator[tuple[str, nn.Module, Tensor]]:
    """Yield the name, layer and output of each layer of a module that is applied to x.

    A chain is opened, down to the first part that isn't one: a layer or, as in a ResNet, a block,
    of which only the output is known. The last output is that of the module. No hook is set.
    """
    parts = parts_of(module)
    if parts is None or any(isinstance(part, Permute) for part in parts.values()):
        yield name or type(module).__name__, module, module(x)
        return
    for child, part in parts.items():
        for found in walk(part, x, f"{name}.{child}" if name else child):
            x = found[2]
            yield found


def step(name: str, layer: str, x: Tensor, *, same_channels: bool) -> Step:
    """Return the pictures of maps x (1, K, *spatial); raise UserError of other shapes."""
    if x.ndim not in (4, 5):
        raise UserError(
            f"{name}: its output has the shape {tuple(x.shape)}, which isn't (N, K, *spatial), so "
            "there are no feature maps to draw"
        )
    # A copy, for the next layer may work in place.
    maps = middle(x[0]).float().cpu().clone()
    return Step(name, layer, tuple(x.shape[1:]), maps, same_channels)


def middle(image: Tensor) -> Tensor:
    """Return (K, H, W) of an image or maps (K, *spatial), of a volume the middle slice."""
    return image[:, image.shape[1] // 2] if image.ndim == 4 else image


def in_words(layer: nn.Module) -> str:
    """Return a layer's class, with the size of its kernel and its stride where it has them.

    >>> in_words(nn.Conv2d(1, 8, 3, stride=2)), in_words(nn.ReLU())
    ('Conv2d 3×3, stride 2', 'ReLU')
    """
    words, kernel = type(layer).__name__, getattr(layer, "kernel_size", None)
    if isinstance(kernel, int | tuple):
        dims = 3 if words.endswith("3d") else 2
        words += " " + "×".join(map(str, sides(kernel, dims)))
        stride = sides(getattr(layer, "stride", 1), dims)
        if max(stride) > 1:
            shown = stride if len(set(stride)) > 1 else stride[:1]
            words += ", stride " + "×".join(map(str, shown))
    return words


def sides(value: int | tuple[int, ...], dims: int) -> tuple[int, ...]:
    """Return one number for each dimension of space."""
    return value if isinstance(value, tuple) else (value,) * dims
