"""The part of an image that one cell of a feature map sees."""

from dataclasses import dataclass
from functools import reduce
from typing import Any

from torch import fx, nn
from torch.utils._pytree import tree_leaves

from medcnn.nets.base import Net, evaluating, stages_of
from medcnn.nets.families.googlenet import ImageNetToUnit

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
POOLINGS = (nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool2d, nn.AvgPool3d)
ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, nn.PReLU, nn.GELU, nn.SiLU)
NORMS = (nn.BatchNorm2d, nn.BatchNorm3d, nn.LocalResponseNorm)
DROPOUTS = (nn.Dropout, nn.Dropout2d, nn.Dropout3d)
WINDOWS = CONVOLUTIONS + POOLINGS
POINTWISE = (*ACTIVATIONS, *NORMS, *DROPOUTS, nn.Identity, ImageNetToUnit)
POINTWISE_CALLS = ("add", "iadd", "mul", "cat", "relu", "tanh", "sigmoid")  # of functions, methods


@dataclass(frozen=True)
class ReceptiveField:
    """The pixels that the cells of a map see, along each side of the image.

    Cell 0 sees the pixels ``start`` to ``start + size - 1``, and each cell after it those
    ``stride`` further on. Pixels below 0, or beyond the image, are padding.

    Args:
        size: Pixels that one cell sees, with holes and padding.
        stride: Pixels from one cell to the next.
        start: The first pixel that cell 0 sees.
    """

    size: int = 1
    stride: int = 1
    start: int = 0

    def through(self, kernel: int, stride: int, padding: int, dilation: int) -> "ReceptiveField":
        """Return the field after a convolution or pooling of this one's map."""
        return ReceptiveField(
            size=self.size + dilation * (kernel - 1) * self.stride,
            stride=self.stride * stride,
            start=self.start - padding * self.stride,
        )

    def merged(self, other: "ReceptiveField") -> "ReceptiveField":
        """Return the field after a sum or concatenation: from the first pixel of both to the last.

        Raises:
            Unknown: Maps of different stride, which no sum can have.
        """
        if self.stride != other.stride:
            raise Unknown
        start = min(self.start, other.start)
        end = max(self.start + self.size, other.start + other.size)
        return ReceptiveField(end - start, self.stride, start)


class Unknown(Exception):  # noqa: N818  # not an error: the answer is that there is none
    """An operation of which this module doesn't know what it sees."""


def receptive_field(net: Net) -> ReceptiveField | None:
    """Return the theoretical receptive field of the map that ``net.features`` ends in.

    A. Araujo, W. Norris, J. Sim, "Computing receptive fields of convolutional neural networks",
    Distill, 2019; the widest path counts where several meet. What a trained net goes by is mostly
    a smaller part in the middle (W. Luo et al., "Understanding the effective receptive field",
    2016).

    Args:
        net: Any net, in any mode; it is as it was afterwards.

    Returns:
        The field, or None where there is no map over the image, or where an operation isn't one of
        convolution, pooling, sum, concatenation or a function of single cells.
    """
    *_, last = stage_fields(net).values()
    return last


def stage_fields(net: Net) -> dict[str, ReceptiveField | None]:
    """Return the receptive field after each stage of ``net.features``; see `receptive_field`."""
    field = ReceptiveField() if net.spatial else None
    found = {}
    with evaluating(net.features):  # what happens in training only is no path
        for name, stage in stages_of(net).items():
            field = None if field is None else after(stage, field)
            found[name] = field
    return found


def after(module: nn.Module, field: ReceptiveField) -> ReceptiveField | None:
    """Return the field after a module of a map with that field; None where it is unknown."""
    root = nn.Sequential(module)
    try:
        graph = Tracer().trace(root)
        result = Walk(fx.GraphModule(root, graph)).run(field)
    except (fx.proxy.TraceError, TypeError, Unknown):  # what depends on values can't be traced
        return None
    return result if isinstance(result, ReceptiveField) else None


class Tracer(fx.Tracer):
    """A tracer that leaves whole what `Walk` knows, subclasses included."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return True for a module that is traced as one operation."""
        known = isinstance(m, WINDOWS + POINTWISE)
        return known or super().is_leaf_module(m, module_qualified_name)


class Walk(fx.Interpreter):
    """A run of a traced module with receptive fields in the place of maps."""

    def run_node(self, n: fx.Node) -> Any:
        """Return the field after one step; what has to do with no map is computed as it is."""
        given = tree_leaves(self.fetch_args_kwargs_from_env(n))
        fields = [value for value in given if isinstance(value, ReceptiveField)]
        if not fields or n.op == "output":
            return super().run_node(n)
        field = reduce(ReceptiveField.merged, fields)  # a sum or concatenation of all maps
        module = self.fetch_attr(str(n.target)) if n.op == "call_module" else None
        if isinstance(module, WINDOWS):
            kernel, stride, padding = map(side, (module.kernel_size, module.stride, module.padding))
            return field.through(kernel, stride, padding, side(getattr(module, "dilation", 1)))
        name = getattr(n.target, "__name__", n.target)  # of a function, else of a method
        if not (isinstance(module, POINTWISE) if module is not None else name in POINTWISE_CALLS):
            raise Unknown
        return field


def side(value: Any) -> int:
    """Return a kernel size, stride, padding or dilation that is the same along all axes.

    Raises:
        Unknown: It isn't.
    """
    sides = set(value) if isinstance(value, tuple | list) else {value}
    if len(sides) != 1 or not isinstance(found := sides.pop(), int):
        raise Unknown
    return found
