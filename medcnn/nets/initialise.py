"""The draw of a net's weights before it is trained."""

from collections.abc import Callable
from math import sqrt

from torch import Tensor, nn

from medcnn.errors import UserError
from medcnn.nets.base import Net
from medcnn.nets.heads import LinearHead

GAINS = {"relu": sqrt(2), "tanh": 5 / 3}
# name: draws a layer's weight, whose units have fan_in inputs, given the gain of what follows it
SCHEMES: dict[str, Callable[[Tensor, int, float], Tensor]] = {
    "he": lambda weight, fan_in, gain: nn.init.normal_(weight, std=gain / sqrt(fan_in)),
    "xavier": lambda weight, fan_in, gain: nn.init.xavier_uniform_(weight),
    "lecun": lambda weight, fan_in, gain: nn.init.normal_(weight, std=1 / sqrt(fan_in)),
    "gaussian": lambda weight, fan_in, gain: nn.init.normal_(weight, std=0.01),
    "orthogonal": lambda weight, fan_in, gain: nn.init.orthogonal_(weight, gain),
}


def initialise(net: Net, scheme: str = "he") -> None:
    """Draw the weights of all convolutions and linear layers but the last; biases are zero.

    - ``he``: normal, standard deviation gain / √fan_in (K. He et al., "Delving deep into
      rectifiers", 2015, eq. 10); keeps the variance of signals through layers of ReLU (gain √2; of
      tanh 5/3).
    - ``xavier``: uniform in ±√(6 / (fan_in + fan_out)) (X. Glorot, Y. Bengio, "Understanding the
      difficulty of training deep feedforward neural networks", 2010, eq. 16); a compromise of
      forward and backward pass.
    - ``lecun``: normal, standard deviation 1 / √fan_in (Y. LeCun et al., "Efficient BackProp",
      1998, eq. 16); what ``he`` is without its gain.
    - ``gaussian``: normal, standard deviation 0.01, as the AlexNet of 2012 (section 5). Deep nets
      without batch norm hardly start from it.
    - ``orthogonal``: rows orthonormal, or columns where there are more rows, times the gain (A.
      Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear neural
      networks", 2014).

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
            draw(part.weight, part.weight[0].numel(), gain)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def output_layers(net: Net) -> list[nn.Linear]:
    """Return the layers that give logits: the one of the head and those of auxiliary heads."""
    found = []
    for head in [net.head, *getattr(net, "aux", nn.ModuleDict()).values()]:
        if isinstance(head, LinearHead):  # attention has other linear layers after it
            found.append(head.fc)
            continue
        layers = [part for part in head.modules() if isinstance(part, nn.Linear)]
        found += [part for part in layers if part.out_features == net.num_classes][-1:]
    return found
