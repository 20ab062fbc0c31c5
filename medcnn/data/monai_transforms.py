"""MONAI's random transforms, image by image: for what `medcnn.data.augment` doesn't offer."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medcnn.data.augment import random_bits, row_states
from medcnn.errors import UserError

# Random transforms of arrays that keep an image's shape, take plain values, and draw from their own
# random state alone. RandLambda calls what it is given; RandIntensityRemap draws from a generator
# that all its instances share, so what it does to an image depends on the images before.
_NAMES = """
    Rand2DElastic Rand3DElastic RandAdjustContrast RandAffine RandAxisFlip RandBiasField
    RandCoarseDropout RandCoarseShuffle RandFlip RandGaussianNoise RandGaussianSharpen
    RandGaussianSmooth RandGibbsNoise RandGridDistortion RandHistogramShift RandImageFilter
    RandKSpaceSpikeNoise RandRicianNoise RandRotate RandRotate90 RandScaleIntensity
    RandScaleIntensityFixedMean RandShiftIntensity RandSimulateLowResolution RandSmoothDeform
    RandSmoothFieldAdjustContrast RandSmoothFieldAdjustIntensity RandStdShiftIntensity RandZoom
"""
TRANSFORMS = frozenset(_NAMES.split())
# Device and type are the batch's.
WITHHELD = frozenset({"device", "dtype", "grid_dtype", "lazy", "inv_func", "track_meta"})


class MonaiTransforms:
    """Random transforms of `monai.transforms`, one after the other on each image.

    Slower than `medcnn.data.augment.Augment`, which changes a whole batch at once. What happens to
    an image depends on the seed, the epoch, the image's row in the sample table and the places of
    the transforms in the list, not on its batch, the batch size or the number of processes.

    Args:
        transforms: One dict for each: ``name``, one of `TRANSFORMS`, and the arguments of that
            class. A transform is applied with probability ``prob``, MONAI's default is 0.1.
        seed: Of the random draws.

    Raises:
        UserError: A name that isn't offered, or arguments that the class refuses.

    Example:
        >>> blur = {"name": "RandGaussianSmooth", "prob": 1.0, "sigma_x": [1.0, 2.0]}
        >>> augment = MonaiTransforms([blur], seed=0)
        >>> augment(torch.rand(2, 1, 8, 8), torch.tensor([5, 9]), epoch=0).shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any]], seed: int) -> None:
        if not isinstance(transforms, Sequence) or isinstance(transforms, str):
            raise UserError(
                f"augment.transforms={transforms}: give a list like [{{name: RandFlip, prob: 0.5}}]"
            )
        self.seed = seed
        self.transforms = [
            _make(one, f"augment.transforms[{i}]") for i, one in enumerate(transforms)
        ]

    def __call__(self, images: Tensor, rows: Tensor, epoch: int) -> Tensor:
        """Change a batch (B, C, *spatial) as `medcnn.data.augment.Augment` does.

        Raises:
            UserError: A transform fails on such images, changes their shape, or gives numbers that
                aren't finite.
        """
        states = row_states(self.seed, epoch, rows.cpu())
        seeds = (random_bits(states, 0, len(self.transforms)) & 0xFFFFFFFF).tolist()
        changed = torch.empty_like(images)
        with _without_metadata():
            for place, image in enumerate(images):
                changed[place] = self._change(image.clone(), seeds[place])
        return changed.clamp_(0, 1)

    def _change(self, image: Tensor, seeds: Sequence[int]) -> Tensor:
        """Send one image (C, *spatial) through all transforms, with a seed for each."""
        for i, (transform, seed) in enumerate(zip(self.transforms, seeds, strict=True)):
            where = f"augment.transforms[{i}] ({type(transform).__name__})"
            size = "×".join(str(edge) for edge in image.shape)
            # A seed would give the parts of a transform the same draws each; a state is shared.
            transform.set_random_state(state=np.random.RandomState(seed))
            try:
                result = transform(image)
                result = torch.as_tensor(result, dtype=image.dtype, device=image.device)
            except Exception as error:  # whatever MONAI raises at images that it can't take
                reason = " ".join(str(error).split())
                raise UserError(f"{where} fails on an image of {size}: {reason}") from error
            if result.shape != image.shape:
                got = "×".join(str(edge) for edge in result.shape)
                raise UserError(f"{where} makes {got} of an image of {size}; the shape has to stay")
            if not result.isfinite().all():
                raise UserError(f"{where} makes numbers that aren't finite of an image of {size}")
            image = result
        return image


def _make(given: Any, where: str) -> Any:
    """Return the MONAI transform that a dict describes."""
    if not isinstance(given, Mapping) or "name" not in given:
        raise UserError(f"{where}={given}: give {{name: RandFlip, prob: 0.5}} or the like")
    options = {key: _tuples(value) for key, value in given.items() if key != "name"}
    name = given["name"]
    if not isinstance(name, str) or name not in TRANSFORMS:
        near = get_close_matches(str(name), TRANSFORMS, n=3, cutoff=0.5) or sorted(TRANSFORMS)
        raise UserError(f"{where}: name={name} isn't offered; there are {', '.join(near)}")
    import monai.transforms  # slow to import

    make = getattr(monai.transforms, name)
    taken = [key for key in inspect.signature(make).parameters if key not in WITHHELD]
    if withheld := sorted(WITHHELD & set(options)):
        raise UserError(
            f"{where}: {name} can't be given {withheld[0]}; it takes {', '.join(taken)}"
        )
    prob = options.get("prob", 0.0)
    if not isinstance(prob, int | float) or not 0 <= prob <= 1:
        raise UserError(f"{where}: prob={prob}: give a probability 0 … 1")
    try:
        return make(**options)
    except Exception as error:  # whatever MONAI raises at arguments that it can't take
        reason = " ".join(str(error).split())
        raise UserError(
            f"{where}: {name} refuses these options ({reason}); it takes {', '.join(taken)}"
        ) from error


def _tuples(value: Any) -> Any:
    """Return a config's value with tuples, as MONAI treats lists otherwise here and there."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


@contextmanager
def _without_metadata() -> Iterator[None]:
    """Have plain tensors of MONAI: four to fifteen times as fast as its own with metadata."""
    from monai.data import get_track_meta, set_track_meta

    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)
