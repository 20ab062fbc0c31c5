"""Augmentation of inputs with channels of 0 and 1."""

from typing import Any

import pytest
import torch

from medcnn.data.augment import Augment
from medcnn.data.augment_layout import with_layout
from medcnn.data.layout import Layout
from medcnn.data.monai_transforms import MonaiTransforms
from medcnn.errors import UserError

LAYOUT = Layout((1, 3), presence=True, lesion=True)
STRONG: dict[str, Any] = {
    "flip": [-1],
    "rotate": 20.0,
    "translate": 0.1,
    "gamma": 0.2,
    "brightness": 0.1,
}


def batch(count: int) -> torch.Tensor:
    """Images that all have both files, with a lesion in the middle."""
    images = torch.ones(count, 7, 16, 16)
    images[:, :4] = torch.rand(count, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    images[:, 6] = 0
    images[:, 6, 5:9, 4:9] = 1
    return images


def test_a_dropped_file_is_told_and_one_always_stays() -> None:
    images, rows = batch(4000), torch.arange(4000)
    augment = with_layout(Augment(seed=0, drop_channel=0.3), LAYOUT)
    assert augment is not None
    changed = augment(images, rows, 1)
    kept = LAYOUT.there(changed)
    assert kept.any(1).all()
    shares = [(kept == torch.tensor(which)).all(1).float().mean() for which in ([1, 1], [0, 1])]
    assert shares == pytest.approx([0.49, 0.21 + 0.045], abs=0.03)  # of both dropped one stays
    of_channels = LAYOUT.by_channel(kept)
    torch.testing.assert_close(changed[:, :4], images[:, :4] * of_channels[..., None, None])
    torch.testing.assert_close(changed[:, 6], images[:, 6])
    part = augment(images[:9:2], rows[:9:2], 1)  # whatever the batch
    torch.testing.assert_close(part, changed[:9:2])
    assert not torch.equal(LAYOUT.there(augment(images, rows, 2)), kept)


def test_what_is_missing_stays_black_and_is_no_choice() -> None:
    images = batch(200)
    images[:, 0] = images[:, 4] = 0
    augment = with_layout(Augment(seed=0, drop_channel=0.9, noise=0.1, **STRONG), LAYOUT)
    assert augment is not None
    changed = augment(images, torch.arange(200), 0)
    assert not changed[:, 0].any()
    assert LAYOUT.there(changed).tolist() == [[False, True]] * 200


def test_the_mask_moves_with_its_image() -> None:
    images = batch(20)
    images[:, :4] = images[:, 6:]  # the image is its mask
    plain = Augment(seed=3, **{key: STRONG[key] for key in ("flip", "rotate", "translate")})
    augment = with_layout(plain, LAYOUT)
    assert augment is not None
    changed = augment(images, torch.arange(20), 0)
    torch.testing.assert_close(changed[:, 6], (changed[:, 0] >= 0.5).float())
    assert not torch.equal(changed[:, 6], images[:, 6])
    assert (changed[:, 4:6] == 1).all()
    torch.testing.assert_close(changed[:, :4], plain(images[:, :4], torch.arange(20), 0))


def test_without_channels_of_0_and_1_it_stays_as_it_is() -> None:
    augment = Augment(seed=0, flip=[-1])
    assert with_layout(augment, None) is augment
    assert with_layout(augment, Layout((1, 1))) is augment
    assert with_layout(None, LAYOUT) is None


@pytest.mark.parametrize("layout", [None, Layout((1, 1)), Layout((1,), lesion=True)])
def test_dropping_has_to_be_told(layout: Layout | None) -> None:
    with pytest.raises(UserError, match=r"augment\.drop_channel=0\.5 goes with .*missing_channel"):
        with_layout(Augment(seed=0, drop_channel=0.5), layout)


def test_transforms_of_monai_leave_flags_but_cant_move_a_mask() -> None:
    monai = MonaiTransforms(seed=0, transforms=[{"name": "RandFlip", "prob": 1.0}])
    images = batch(2)
    augment = with_layout(monai, Layout((1, 3), presence=True))
    assert augment is not None
    changed = augment(images[:, :6], torch.arange(2), 0)
    torch.testing.assert_close(changed[:, :4], images[:, :4].flip(-2, -1))
    assert (changed[:, 4:] == 1).all()
    with pytest.raises(UserError, match=r"mask_as=channel: only augment=light"):
        with_layout(monai, LAYOUT)
