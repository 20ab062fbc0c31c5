"""What all cases are made from: patients in groups and splits, and their sample table."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from medcnn.data.phantom.anatomy import Draws
from medcnn.data.phantom.patients import generator_of
from medcnn.data.phantom.projection import Array, Grid
from medcnn.data.phantom.radiograph import WIDTH
from medcnn.data.samples import SPLITS, Samples


@dataclass(frozen=True)
class Patients:
    """P patients of a case, and how they are imaged.

    Args:
        group: (P,) index into the groups of the case.
        split: (P,) index into `SPLITS`.
        size: Pixels an edge of an image.
        dose: Photons that reach a pixel where there is no body.
        bits: Of a film's pixel.
        seed: Of all that is random.
    """

    group: Array
    split: Array
    size: int
    dose: float
    bits: int
    seed: int

    def __len__(self) -> int:
        return len(self.group)

    @property
    def grid(self) -> Grid:
        """The detector."""
        return Grid(self.size, WIDTH)

    @property
    def pixel(self) -> type[np.uint8] | type[np.uint16]:
        """The data type of a film's pixel."""
        return np.uint8 if self.bits == 8 else np.uint16

    def draws(self, kind: int, number: int = 0) -> Draws:
        """Return random numbers with one row a patient, other ones for each kind and number.

        Kind 0 is of patients and 1 of films, as where a case isn't asked for; 2 is of the case.
        """
        generators = [
            generator_of(self.seed, kind, patient, number) for patient in range(len(self))
        ]
        return Draws(generators)

    def table(self, owner: Array, label: Array) -> pd.DataFrame:
        """Return the sample table of images, of patients owner (N,), who have a label (P,)."""
        columns = {
            "image": np.arange(len(owner)),
            "patient": [f"p{patient:04d}" for patient in owner],
            "split": np.array(SPLITS)[self.split[owner]],
            "label": label[owner],
        }
        return pd.DataFrame(columns)

    def films(
        self, name: str, classes: tuple[str, str], table: pd.DataFrame, images: Array, masks: Array
    ) -> Samples:
        """Return samples of films (N, C, size, size), of which the second class is sought."""
        return Samples(
            name=f"phantom-{name}",
            table=table,
            images=torch.from_numpy(images),
            task="binary",
            class_names=classes,
            positive=1,
            intensity_range=(0.0, float(2**self.bits - 1)),
            masks=torch.from_numpy(masks),
        )
