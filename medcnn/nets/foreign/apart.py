"""Any classifier as ``head(features(x))``, for the time of a map."""

from collections import OrderedDict
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from medcnn.errors import UserError
from medcnn.nets.base import Net, evaluating
from medcnn.nets.foreign.net import blank, cut, twin_of
from medcnn.nets.foreign.seam import Halves

_PLAIN = (bool, int, float, str, tuple, list, type(None))
_made: WeakKeyDictionary[nn.Module, tuple[Any, Halves]] = WeakKeyDictionary()


@torch.inference_mode(False)  # how tensors are passed on is watched, which these forbid
@torch.no_grad()
def apart(net: nn.Module, images: Tensor) -> nn.Module | Halves:
    """Return a net itself if it is ``head(features(x))``, else two halves that have its modules.

    The halves are made as those of ``model.library=timm``, see `medcnn.nets.foreign.net`; of a net
    with arithmetic between its modules by its graph (torch.fx). Modules that work in place go on
    doing so. That takes up to seconds, so halves are kept as long as the net is there and stays as
    it was.

    Args:
        net: On the device of the images. It stays as it is.
        images: (N, C, *spatial), at least one.

    Raises:
        UserError: The net can't be taken apart.
    """
    if isinstance(net, Net) or _is_seam(net, images[:1]):
        return net
    state = images.shape[1:], _state(net)
    if net not in _made or _made[net][0] != state:
        _made[net] = state, _halves(net, type(net).__name__, images)
    return _made[net][1]


def _state(net: nn.Module) -> list[Any]:
    """Return what halves of a net depend on, to be compared: its parts, their settings, tensors."""
    found: list[Any] = [id(tensor) for tensor in (*net.parameters(), *net.buffers())]
    for name, part in net.named_modules():
        settings = {key: value for key, value in vars(part).items() if isinstance(value, _PLAIN)}
        hooks = [list(value) for key, value in vars(part).items() if key.endswith("hooks")]
        found.append((name, id(part), repr(settings), hooks))
    return found


def _halves(net: nn.Module, name: str, images: Tensor) -> Halves:
    """Return the halves of a net, made anew; see `apart`."""
    try:
        blanks = blank(net, name, images.shape[1], images.shape[2:])
        try:
            return cut(net, name, blanks, ())
        except UserError:
            if halves := _by_graph(net, blanks):
                return halves
            raise
    except UserError as error:
        raise UserError(
            f"{error}; give it a property `features`, from images to maps (N, K, *spatial), and "
            "`head`, from those to logits, or make it with medcnn.nets.build"
        ) from error


def _by_graph(net: nn.Module, images: Tensor) -> Halves | None:
    """Return a net cut after the last map of several cells that all else is computed from, if any.

    The images are on a device where a copy of the net can be tried.
    """
    try:
        twin, traced = (fx.symbolic_trace(n) for n in (twin_of(net, images.device), net))
        ShapeProp(twin).propagate(images)
    except Exception:  # whatever tracing raises on a net that decides by values
        return None
    nodes, maps = list(traced.graph.nodes), images.dim()
    for place, tried in reversed(list(enumerate(twin.graph.nodes))):
        meta = None if tried.op == "get_attr" else tried.meta.get("tensor_meta")
        shape = getattr(meta, "shape", ())
        if len(shape) not in (0, 2, maps):
            return None  # tokens
        later = nodes[place + 1 :]
        needed = {given for node in later for given in node.all_input_nodes}
        if len(shape) == maps and max(shape[2:]) > 1 and needed <= {nodes[place], *later}:
            body = fx.GraphModule(traced, _graph(nodes[: place + 1]))
            head = fx.GraphModule(traced, _graph(later, nodes[place]))
            return Halves(nn.Sequential(OrderedDict(body=body)), head, spatial=True)
    return None


def _graph(nodes: list[fx.Node], given: fx.Node | None = None) -> fx.Graph:
    """Return the graph of some nodes: from one before them, else a placeholder, to the last."""
    graph, copies = fx.Graph(), {}
    if given is not None:
        copies[given] = graph.placeholder("x")
    for node in nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    if nodes[-1].op != "output":
        graph.output(copies[nodes[-1]])
    return graph


def _is_seam(net: nn.Module, image: Tensor) -> bool:
    """Return whether a net has features and head, and they are the whole of it in eval mode."""
    if not hasattr(net, "features") or not hasattr(net, "head"):
        return False
    with evaluating(net):
        try:
            whole = net(image)
        except Exception:  # a net that doesn't run at all: whoever runs its parts says why
            return True
        try:
            logits = net.head(net.features(image))  # type: ignore[operator]
        except (RuntimeError, TypeError, ValueError):
            return False
    return logits.shape == whole.shape and torch.allclose(logits, whole, 1e-3, 1e-3, True)
