"""Images with columns beside them, that a test trains on."""

from typing import Any

import jobs
import numpy as np
import pandas as pd
import torch

from medcnn.data.samples import SPLITS, Samples

FEATURES = ("age", "sex")
SOURCE = "columned.samples"  # to be trusted


def samples(sizes: list[int], studies: bool = False) -> Samples:
    """Two classes that the image tells by half, and the age by half; the sex says nothing.

    Some ages are missing, and of the sex there is a value that the training split lacks.

    Args:
        sizes: Images of the three splits, even.
        studies: Whether two images each are a study, with one label and one age.
    """
    draw, count = np.random.default_rng(0), sum(sizes)
    step = 2 if studies else 1
    bright, old = (np.repeat(draw.normal(size=count // step), step) for _ in range(2))
    images = jobs.patterns(np.where(bright > 0, 2, 0), (20, 20), seed=1)
    label = (bright + old > 0).astype(int)
    sex = np.repeat(draw.choice(["F", "M"], count // step), step).astype(object)
    age = [f"{60 + 9 * value:.1f}" for value in old]
    table = pd.DataFrame({"image": np.arange(count), "patient": np.arange(count) // 2})
    table["split"], table["label"] = np.repeat(SPLITS, sizes), label
    table["age"], table["sex"] = age, sex
    table.loc[table["patient"] % 7 == 3, "age"] = ""
    table.loc[table.index[-2:], "sex"] = "unsaid"
    if studies:
        table["study"] = table["patient"]
    pixels = torch.from_numpy(images)[:, None]
    return Samples("columned", table, pixels, "binary", ("no", "yes"), positive=1)


def dataset(**options: Any) -> dict[str, Any]:
    """The config of it."""
    given: dict[str, Any] = {"sizes": [48, 20, 20], "features": list(FEATURES)}
    return {"_target_": SOURCE, "name": "columned", "epochs": 2, **given, **options}
