"""The draw of a net's weights before it is trained."""

from collections.abc import Callable
from math import sqrt

from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.nets.base import Net
from medcnn.nets.heads import LinearHead

GAUSSIAN_STD = 0.01
GAINS = {"relu": sqrt(2), "tanh": 5 / 3}


def he(weight: Tensor, gain: float) -> None:
    """Normal, standard deviation gain / √fan_in (He et al. 2015, eq. 10)."""
    fan_in = weight[0].numel()
    nn.init.normal_(weight, 0.0, gain / sqrt(fan_in))


def lecun(weight: Tensor, gain: float) -> None:
    """Normal, standard deviation 1 / √fan_in, whatever follows (LeCun et al. 1998, eq. 16)."""
    he(weight, 1.0)


def xavier(weight: Tensor, gain: float) -> None:
    """Uniform in ±√(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 16)."""
    nn.init.xavier_uniform_(weight)


def gaussian(weight: Tensor, gain: float) -> None:
    """Normal, standard deviation 0.01 (Krizhevsky et al. 2012, section 5)."""
    nn.init.normal_(weight, 0.0, GAUSSIAN_STD)


def orthogonal(weight: Tensor, gain: float) -> None:
    """Rows orthonormal, or columns where there are more rows, times gain (Saxe et al. 2014)."""
    nn.init.orthogonal_(weight, gain)


SCHEMES: dict[str, Callable[[Tensor, float], None]] = {
    "he": he,
    "xavier": xavier,
    "lecun": lecun,
    "gaussian": gaussian,
    "orthogonal": orthogonal,
}


def initialise(net: Net, scheme: str = "he") -> None:
    """Draw the weights of all convolutions and linear layers but the last; biases are zero.

    - ``he``: K. He et al., "Delving deep into rectifiers", 2015; keeps the variance of signals
      through layers of ReLU (gain √2; of tanh 5/3).
    - ``xavier``: X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward
      neural networks", 2010; a compromise of forward and backward pass.
    - ``lecun``: Y. LeCun et al., "Efficient BackProp", 1998; what ``he`` is without its gain.
    - ``gaussian``: as the AlexNet of 2012. Deep nets without batch norm hardly start from it.
    - ``orthogonal``: A. Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep
      linear neural networks", 2014.

    The layers that give logits keep PyTorch's own, uniform in ±1 / √fan_in.

    Args:
        net: Any net of medcnn.
        scheme: One of these.

    Raises:
        UserError: Another scheme.
    """
    if scheme not in SCHEMES:
        raise UserError(f"model.init={scheme}: choose one of {', '.join(SCHEMES)}")
    draw, gain = SCHEMES[scheme], GAINS[net.nonlinearity]
    last = output_layers(net)
    for part in net.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d | nn.Linear) and part not in last:
            draw(part.weight, gain)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def output_layers(net: Net) -> list[nn.Linear]:
    """The linear layers that give logits: the one of the head and those of auxiliary heads."""
    heads = [net.head, *getattr(net, "aux", nn.ModuleDict()).values()]
    found = []
    for head in heads:
        if isinstance(head, LinearHead):  # attention has other linear layers after it
            found.append(head.fc)
            continue
        layers = [part for part in head.modules() if isinstance(part, nn.Linear)]
        found += [part for part in layers if part.out_features == net.num_classes][-1:]
    return found
