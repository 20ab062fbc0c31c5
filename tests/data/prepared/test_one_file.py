import numpy as np
import pytest

from medcnn.data.image import Image, ImageSpec
from medcnn.data.prepared.one_file import prepare_image


def test_padding_is_not_measured() -> None:
    values = np.arange(64, dtype=np.int16).reshape(1, 8, 8)
    padding = values[0] < 16
    filled = np.where(padding, np.int16(16), values)
    _, facts = prepare_image(Image(filled, padding=padding), ImageSpec(size=(8, 8)))
    assert facts["extremes"] == [16, 63]
    assert facts["percentiles"] == pytest.approx(
        list(np.percentile(np.arange(16, 64), [0.5, 99.5]))
    )
