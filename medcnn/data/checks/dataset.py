"""A data set with the findings about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medcnn.data.checks.audit import Finding
from medcnn.data.prepared.facts import FactTable
from medcnn.data.prepared.open_listing import Problem
from medcnn.data.samples import Samples


@dataclass
class DataSet:
    """Samples with the findings about them."""

    samples: Samples  # ready to train on; with pseudonyms if these were asked for
    problems: list[Problem] = field(default_factory=list)  # files that were left out
    findings: list[Finding] = field(default_factory=list)  # of the audit
    facts: FactTable = field(default_factory=FactTable)  # of each row's file; empty without files
    slices: Sequence[int] | NDArray[np.int64] = ()  # (N,) of each row among its file's images
    columns: dict[str, FactTable] = field(default_factory=dict)  # of each of several files a row
    official_column: bool = False  # whether the split is that of the table's own column
