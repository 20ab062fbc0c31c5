"""A data set with the findings about it."""

from dataclasses import dataclass, field

from medcnn.data.checks.audit import Finding
from medcnn.data.prepared.cache import Facts
from medcnn.data.prepared.open_listing import Problem
from medcnn.data.samples import Samples


@dataclass
class DataSet:
    """Samples with the findings about them.

    Args:
        samples: Ready to train on; with pseudonyms if these were asked for.
        problems: Files that can't be used, and were left out.
        findings: Of the audit.
        facts: Of each row's file; empty for data that are no files.
        slices: (N,) number of each row among its file's images.
        official_column: Whether the split is that of the table's own column ``split``.
    """

    samples: Samples
    problems: list[Problem] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    facts: list[Facts] = field(default_factory=list)
    slices: list[int] = field(default_factory=list)
    official_column: bool = False
