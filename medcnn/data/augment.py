"""Random changes of the training images, a whole batch at once, on the device that holds it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from medcnn.errors import UserError

# Draws of a row's random sequence: fixed places, so that switching one change on or off leaves the
# others as they are. Three for each axis or plane of a volume.
_FLIP, _ROTATE, _TRANSLATE = slice(0, 3), slice(3, 6), slice(6, 9)
_SCALE, _GAMMA, _CONTRAST, _BRIGHTNESS, _NOISE = 9, 10, 11, 12, 13
_DRAWS = 16  # the noise of the pixels begins here
# Erasing has draws that no noise reaches: whether, the size, the form (2), the place (3, one an
# axis), then the pixels.
_ERASING = 1 << 40
DROPPING = 1 << 41  # where the draws of the files to drop begin
_ERASE, _SIZE, _FORM, _PLACE, _ERASED = 0, 1, slice(2, 4), slice(4, 7), 7
_PARTS = 0.02, 1 / 3  # of the image, that are erased
_LONGEST = math.log(1 / 0.3)  # log of the greatest ratio of a box's sides


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Flips, turns, scales and shifts images, changes their intensity, and erases a box.

    What happens to an image depends on the seed, the epoch and its row in the sample table alone,
    not on its batch, the batch size or the number of processes.

    The geometry is one affine map, interpolated once (bilinear, trilinear). Beyond the image's edge
    is black: a repeated or mirrored border would be invented tissue, or a second lesion. Flips are
    wrong where the side carries meaning (situs, laterality).

    All draws are uniform, as those of MONAI's RandFlip, RandRotate, RandZoom, RandAffine (its
    translation), RandAdjustContrast (gamma), RandScaleIntensityFixedMean (contrast),
    RandShiftIntensity and RandGaussianNoise, which change one image after the other.

    Erasing is that of Z. Zhong et al., "Random erasing data augmentation", 2020: a box, of which
    place, form (3 : 10 to 10 : 3, as parts of the image's sides) and size (1/50 to 1/3 of the
    image) are random, gets random intensities, the last change of all. It may hide a small lesion.

    Args:
        seed: Of the random draws.
        flip: Axes to mirror, each with probability 1/2, counted from the end: -1 left-right,
            -2 up-down, -3 (volumes) front-back.
        rotate: Largest angle, degrees; in a volume, in each of the three planes.
        scale: Largest relative change of size, below 1: 0.1 is 0.9 … 1.1.
        translate: Largest shift along each axis, as a fraction of that axis.
        gamma: The intensities are raised to 1 ± gamma at most.
        contrast: The distance to the image's mean is multiplied by 1 ± contrast at most.
        brightness: Largest number added to the intensities.
        noise: Largest standard deviation of Gaussian noise, independent for each pixel.
        erase: Probability that a box of an image is erased.
        drop_channel: Probability that one of an image's files is left out, of inputs that have a
            layout with `presence`; see `with_layout`.

    Raises:
        UserError: A value that makes no sense.
    """

    seed: int
    flip: Sequence[int] = ()
    rotate: float = 0.0
    scale: float = 0.0
    translate: float = 0.0
    gamma: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    noise: float = 0.0
    erase: float = 0.0
    drop_channel: float = 0.0

    def __post_init__(self) -> None:
        axes = (-1, -2, -3)
        if not isinstance(self.flip, Sequence) or any(axis not in axes for axis in self.flip):
            raise UserError(f"augment.flip={self.flip}: give a list of the axes -1, -2, -3")
        highest = {"rotate": 180.0, "drop_channel": 0.99, "scale": 0.99, "gamma": 0.99}
        for key in (field.name for field in fields(self) if isinstance(field.default, float)):
            value, limit = getattr(self, key), highest.get(key, 1.0)
            if not (isinstance(value, int | float) and 0 <= value <= limit):
                raise UserError(f"augment.{key}={value} is outside 0 … {limit:g}")

    def __call__(self, images: Tensor, rows: Tensor, epoch: int) -> Tensor:
        """Return a changed batch of the same shape; in 0 … 1 where an intensity is changed.

        Args:
            images: (B, C, *spatial) float32 in 0 … 1, 2-D or 3-D.
            rows: (B,) int64, the images' rows in the sample table.
            epoch: Which time these images are seen.

        Raises:
            UserError: An axis to flip that the images don't have.
        """
        geometry = len(self.flip) or self.rotate or self.scale or self.translate
        intensity = self.gamma or self.contrast or self.brightness or self.noise
        if not (geometry or intensity or self.erase):
            return images
        state = row_states(self.seed, epoch, rows.to(images.device))
        draws = uniform(state, 0, _DRAWS)
        if geometry:
            images = self._move(images, draws)
        if intensity:
            images = self._change_intensity(images, draws, state)
        return self._erase(images, state) if self.erase else images

    def _move(self, images: Tensor, draws: Tensor) -> Tensor:
        """Resample with the affine map of each image."""
        if min(self.flip, default=-1) < 2 - images.ndim:
            raise UserError(f"augment.flip={list(self.flip)}: the images have no axis -3")
        size = images.shape[2:]
        # From pixels to the coordinates of grid_sample, in which an edge is 2 long.
        edges = torch.tensor([*size, 2.0], device=images.device)
        theta = self.matrices(draws, size) * edges / edges[:, None]
        return F.grid_sample(images, _grid(theta, size), padding_mode="zeros", align_corners=False)

    def matrices(self, draws: Tensor, size: Sequence[int]) -> Tensor:
        """Return the maps from output to input pixels about the image's centre, (B, d+1, d+1).

        An image is flipped, scaled, rotated, then shifted; the map is the inverse of that.
        """
        dims, signed = len(size), 2 * draws - 1
        flips = torch.ones_like(draws[:, :dims])
        for axis in set(self.flip):
            flips[:, axis] = torch.where(draws[:, _FLIP][:, axis] < 0.5, -1.0, 1.0)
        factors = flips * (1 + self.scale * signed[:, _SCALE, None])
        matrix = torch.eye(dims + 1, device=draws.device).repeat(len(draws), 1, 1)
        matrix[:, :dims, :dims] = torch.diag_embed(1 / factors)
        if self.rotate:
            angles = signed[:, _ROTATE] * math.radians(self.rotate)
            for plane, angle in zip(combinations(range(dims), 2), angles.unbind(1), strict=False):
                matrix = matrix @ _rotations(angle, plane, dims + 1)
        if self.translate:
            shift = torch.eye(dims + 1, device=draws.device).repeat(len(draws), 1, 1)
            pixels = self.translate * torch.tensor(size, device=draws.device)
            shift[:, :dims, dims] = -signed[:, _TRANSLATE][:, :dims] * pixels
            matrix = matrix @ shift
        return matrix

    def _change_intensity(self, images: Tensor, draws: Tensor, state: Tensor) -> Tensor:
        """Change gamma, contrast, brightness and noise, in that order; cut to 0 … 1.

        In place on a copy: new memory for each step would take longer than the steps.
        """
        shape = (-1,) + (1,) * (images.ndim - 1)
        signed = 2 * draws - 1
        images = images.clamp(0, 1)
        if self.gamma:  # x to the power of g
            images.log_().mul_((1 + self.gamma * signed[:, _GAMMA]).view(shape)).exp_()
        if self.contrast:
            mean = images.mean(tuple(range(1, images.ndim)), keepdim=True)
            factor = (1 + self.contrast * signed[:, _CONTRAST]).view(shape)
            images.mul_(factor).add_(mean * (1 - factor))
        if self.brightness:
            images.add_((self.brightness * signed[:, _BRIGHTNESS]).view(shape))
        if self.noise:
            sd = (self.noise * draws[:, _NOISE]).view(shape)
            images.addcmul_(normal(state, _DRAWS, images[0].numel()).view_as(images), sd)
        return images.clamp_(0, 1)

    def _erase(self, images: Tensor, state: Tensor) -> Tensor:
        """Fill a box of some images with uniform noise in 0 … 1."""
        draws = uniform(state, _ERASING, _ERASED)
        chosen = (draws[:, _ERASE] < self.erase).nonzero()[:, 0]
        draws, state = draws[chosen], state[chosen]
        inside = boxes(draws, images.shape[2:])[:, None]
        pixels = uniform(state, _ERASING + _ERASED, images[0].numel())
        erased = images.clone()
        erased[chosen] = torch.where(inside, pixels.view(-1, *images.shape[1:]), images[chosen])
        return erased


def boxes(draws: Tensor, size: Sequence[int]) -> Tensor:
    """Return what lies in the boxes to erase, bool (B, *size), of draws (B, 7) in [0, 1).

    In a plane the form is the ratio of the two sides, as parts of the image's sides, its logarithm
    uniform. In a volume a second ratio is that of the box's depth to the other two. A side that
    would be longer than the image's is cut to it.
    """
    part = draws[:, _SIZE] * (_PARTS[1] - _PARTS[0]) + _PARTS[0]
    plane, depth = ((2 * draws[:, _FORM] - 1) * _LONGEST).unbind(1)
    forms = torch.stack([plane / 2, -plane / 2], 1)
    if len(size) == 3:
        forms = torch.cat([2 * depth[:, None], forms * 3 - depth[:, None]], 1) / 3
    whole = torch.tensor(size, device=draws.device)
    sides = (whole * part[:, None] ** (1 / len(size)) * forms.exp()).round()
    sides = torch.minimum(sides.clamp(min=1), whole)
    first = (draws[:, _PLACE][:, -len(size) :] * (whole - sides + 1)).floor()
    inside = torch.ones(len(draws), *size, dtype=torch.bool, device=draws.device)
    for axis, side in enumerate(size):
        place = torch.arange(side, device=draws.device) - first[:, axis, None]
        along = (place >= 0) & (place < sides[:, axis, None])
        inside &= along.view(-1, *(side if k == axis else 1 for k in range(len(size))))
    return inside


def _grid(theta: Tensor, size: Sequence[int]) -> Tensor:
    """Return the source of each output pixel, (B, *size, d), the last axis first as in grid_sample.

    As affine_grid of PyTorch, by one sum an axis where that multiplies matrices at every pixel;
    theta is (B, d+1, d+1) from output to input coordinates, in which an edge is -1 … 1.
    """
    dims = len(size)
    grid = theta.new_empty(len(theta), *size, dims)
    for k in range(dims):
        place: Tensor = theta[:, k, dims].view(-1, *[1] * dims)
        for axis, length in enumerate(size):
            centres = (2 * torch.arange(length, device=theta.device) + 1) / length - 1
            shape = [length if j == axis else 1 for j in range(dims)]
            term = (theta[:, k, axis, None] * centres).view(-1, *shape)
            place = place + term
        grid[..., dims - 1 - k] = place
    return grid


def _rotations(angle: Tensor, plane: tuple[int, int], size: int) -> Tensor:
    """Return rotations (B, size, size) by angles (B,), radians, in the plane of two axes."""
    first, second = plane
    matrix = torch.eye(size, device=angle.device).repeat(len(angle), 1, 1)
    matrix[:, first, first] = matrix[:, second, second] = angle.cos()
    matrix[:, first, second] = -angle.sin()
    matrix[:, second, first] = angle.sin()
    return matrix


# A counter-based generator, SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom
# number generators", OOPSLA 2014): draw i of a row is a hash of (seed, epoch, row, i), so a batch
# is drawn at once, on any device, and each row's draws are its own. torch's int64 wraps around.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)


def _shift(bits: Tensor, places: int) -> Tensor:
    """Shift to the right, filling with zeros; torch's own repeats the sign."""
    return (bits >> places).bitwise_and_((1 << (64 - places)) - 1)


def _mix(bits: Tensor) -> Tensor:
    """Apply SplitMix64's finaliser."""
    bits = (bits ^ _shift(bits, 30)).mul_(_MIX_1)
    bits = bits.bitwise_xor_(_shift(bits, 27)).mul_(_MIX_2)
    return bits.bitwise_xor_(_shift(bits, 31))


def random_bits(state: Tensor, first: int, count: int) -> Tensor:
    """Return draws first … first+count-1, (B, count) int64, of generators in states (B,) int64."""
    index = torch.arange(first + 1, first + count + 1, device=state.device)
    return _mix(state[:, None] + index * _GOLDEN)


def row_states(seed: int, epoch: int, rows: Tensor) -> Tensor:
    """Return the states (B,) int64 of the generators of rows (B,) in an epoch."""
    state = torch.zeros_like(rows)
    for key in (seed, epoch, rows):
        state = _mix(_mix(state + _GOLDEN) ^ key)
    return state


def uniform(state: Tensor, first: int, count: int) -> Tensor:
    """Return numbers (B, count) float32 in [0, 1), from the upper 24 bits of the draws."""
    return _shift(random_bits(state, first, count), 40).float() * 2.0**-24


def normal(state: Tensor, first: int, count: int) -> Tensor:
    """Return standard normal numbers (B, count) float32: Box and Muller (1958), two a draw."""
    bits = random_bits(state, first, (count + 1) // 2)
    radius = _shift(bits, 40).add_(1).float().mul_(2.0**-24).log_().mul_(-2).sqrt_()
    angle = bits.bitwise_and_(0xFFFFFF).float().mul_(2 * math.pi * 2.0**-24)
    return torch.cat([radius * angle.cos(), radius * angle.sin_()], 1)[:, :count]
