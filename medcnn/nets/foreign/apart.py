"""Any classifier as ``head(features(x))``, for the time of a map."""

import copy
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn

from medcnn.errors import UserError
from medcnn.nets.base import Net, evaluating
from medcnn.nets.foreign.net import cut, device_for, images_of, twin_of


class Halves(NamedTuple):
    """A net in two pieces: images → activations (N, K, *spatial) → logits."""

    features: nn.Module
    head: nn.Module
    spatial: bool


_PLAIN = (bool, int, float, str, tuple, list, type(None))
_made: WeakKeyDictionary[nn.Module, tuple[Any, Halves]] = WeakKeyDictionary()


@torch.no_grad()
def apart(net: nn.Module, images: Tensor) -> nn.Module | Halves:
    """Return a net itself if it is ``head(features(x))``, else two halves that share its tensors.

    The halves are made as those of ``model.library=timm``, see `medcnn.nets.foreign.net`; of a net
    with arithmetic between its modules by its graph (torch.fx). That takes seconds, so halves are
    kept as long as the net is there and stays as it was.

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
        _made[net] = state, _halves(net, images)
    return _made[net][1]


def _state(net: nn.Module) -> list[Any]:
    """What halves of a net depend on, to be compared: its modules, their settings, its tensors."""
    found: list[Any] = [id(tensor) for tensor in (*net.parameters(), *net.buffers())]
    for name, part in net.named_modules():
        settings = {key: value for key, value in vars(part).items() if isinstance(value, _PLAIN)}
        hooks = [list(value) for key, value in vars(part).items() if key.endswith("hooks")]
        found.append((name, type(part), repr(settings), hooks))
    return found


def _halves(net: nn.Module, images: Tensor) -> Halves:
    """The halves of a net, made anew; see `apart`."""
    tensors = (*net.parameters(), *net.buffers())
    model = copy.deepcopy(net, {id(tensor): tensor for tensor in tensors})
    for module in model.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    name, channels, size = type(net).__name__, images.shape[1], images.shape[2:]
    try:
        device = device_for(model, name, channels, size)
        blank = images_of(channels, size, device)
        try:
            return Halves(*cut(model, name, blank, ()))
        except UserError:
            halves = _by_graph(model, twin_of(model, device), blank)
            if halves is None:
                raise
            return halves
    except UserError as error:
        raise UserError(
            f"{error}; give it a property `features`, from images to maps (N, K, *spatial), and "
            "`head`, from those to logits, or make it with medcnn.nets.build"
        ) from error


def _by_graph(model: nn.Module, twin: nn.Module, images: Tensor) -> Halves | None:
    """A model cut after the last map of several cells that all else is computed from, if any.

    Args:
        model: Whose modules the halves have.
        twin: A copy of it, which runs.
        images: (N, C, *spatial), for the twin.
    """
    try:
        traced, shapes = fx.symbolic_trace(model), _shapes(twin, images)
    except Exception:  # whatever tracing raises on a net that decides by values
        return None
    nodes, maps = list(traced.graph.nodes), images.dim()
    for place in reversed(range(len(nodes))):
        shape = shapes.get(nodes[place].name, ())
        if len(shape) not in (0, 2, maps):
            return None  # tokens
        below = set(nodes[place:])
        ends = all(set(node.all_input_nodes) <= below for node in nodes[place + 1 :])
        if len(shape) == maps and max(shape[2:]) > 1 and ends:
            features = fx.GraphModule(traced, _graph(nodes[: place + 1]))
            head = fx.GraphModule(traced, _graph(nodes[place + 1 :], nodes[place]))
            return Halves(features, head, spatial=True)
    return None


def _shapes(twin: nn.Module, images: Tensor) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors in a net, by the names of the nodes that give them."""
    found: dict[str, tuple[int, ...]] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if isinstance(value, Tensor) and n.op != "get_attr":
                found[n.name] = tuple(value.shape)
            return value

    Recorder(fx.symbolic_trace(twin)).run(images)
    return found


def _graph(nodes: list[fx.Node], given: fx.Node | None = None) -> fx.Graph:
    """A graph of some nodes, from `given` (else their placeholder) to what the last one gives."""
    graph, copies = fx.Graph(), {}
    if given is not None:
        copies[given] = graph.placeholder("x")
    for node in nodes:
        copies[node] = graph.node_copy(node, lambda old: copies[old])
    if nodes[-1].op != "output":
        graph.output(copies[nodes[-1]])
    return graph


def _is_seam(net: nn.Module, image: Tensor) -> bool:
    """Whether a net has features and head, and they are the whole of it."""
    if not hasattr(net, "features") or not hasattr(net, "head"):
        return False
    if type(net).forward is nn.Module.forward:
        return True  # it has no other pass than that of its parts
    with evaluating(net):  # in training mode a pass is random, and changes running statistics
        try:
            whole = net(image)
        except Exception:  # a net that doesn't run at all: whoever runs its parts says why
            return True
        try:
            logits = net.head(net.features(image))  # type: ignore[operator]
        except (RuntimeError, TypeError, ValueError):
            return False
    return logits.shape == whole.shape and torch.allclose(logits, whole, 1e-3, 1e-3, True)
