"""The classic kernels of image processing, applied as a convolution layer applies its own."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey (ITU-R BT.601)


@dataclass(frozen=True)
class Kernel:
    """A square kernel of odd side.

    Args:
        name: What the field calls it.
        effect: What it does to an image, in a few words.
        numbers: Rows of weights, times `divisor`.
        divisor: Makes the weights of a blur sum to one.
    """

    name: str
    effect: str
    numbers: tuple[tuple[int, ...], ...]
    divisor: int = 1

    @property
    def weights(self) -> Tensor:
        """(side, side) float32."""
        return torch.tensor(self.numbers, dtype=torch.float32) / self.divisor

    @property
    def signed(self) -> bool:
        """True where the weights sum to zero: then flat areas give 0, and edges both signs."""
        return sum(map(sum, self.numbers)) == 0


BINOMIAL = (1, 4, 6, 4, 1)
# R. Gonzalez, R. Woods, "Digital image processing", 2018, chapter 3. The Gaussian is the product of
# two binomials, with a standard deviation of 1 px.
CLASSIC = (
    Kernel("identity", "leaves the image as it is", ((0, 0, 0), (0, 1, 0), (0, 0, 0))),
    Kernel("box blur", "the mean of the neighbours", ((1, 1, 1), (1, 1, 1), (1, 1, 1)), 9),
    Kernel(
        "Gaussian blur",
        "a mean that favours the centre",
        tuple(tuple(a * b for b in BINOMIAL) for a in BINOMIAL),
        256,
    ),
    Kernel("sharpen", "the image minus its Laplacian", ((0, -1, 0), (-1, 5, -1), (0, -1, 0))),
    Kernel("Sobel x", "white: brighter to the right", ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1))),
    Kernel("Sobel y", "white: brighter downwards", ((-1, -2, -1), (0, 0, 0), (1, 2, 1))),
    Kernel("Laplacian", "edges of every direction", ((0, 1, 0), (1, -4, 1), (0, 1, 0))),
    Kernel("emboss", "a relief, lit from the upper left", ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))),
)


def respond(image: Tensor, kernel: Kernel) -> Tensor:
    """The response (H, W) of a grey image (H, W) to a kernel.

    y(i, j) = Σ_{u,v} w(u, v) x(i + u, j + v), u and v from the kernel's centre: the
    cross-correlation that deep learning calls convolution (the kernel isn't turned round). The
    image is continued by its border pixels.
    """
    margin = len(kernel.numbers) // 2
    padded = F.pad(image[None, None], [margin] * 4, mode="replicate")
    return F.conv2d(padded, kernel.weights.to(image)[None, None])[0, 0]


def grey(image: Tensor) -> Tensor:
    """(H, W) of an image (C, H, W): the luma of three channels, of any other number the first."""
    if len(image) != len(LUMA):
        return image[0]
    return torch.einsum("c,chw->hw", image.new_tensor(LUMA), image)
