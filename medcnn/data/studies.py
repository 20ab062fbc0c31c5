"""The images of studies: which of a data set's rows one label belongs to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcnn.data.listing import TILES
from medcnn.errors import UserError
from medcnn.jobs.notes import note, shortened
from medcnn.nets.aggregators.bags import places

STUDY = ["split", "patient", "study"]  # columns that are the same in all images of a study
MOST_VIEWS = 32  # names in column view: more are no views


@dataclass(frozen=True)
class Studies:
    """The images of M studies, which a net takes together.

    A study is named by the first of its rows in the sample table.

    Args:
        places: (N,) int64 rows of all images, study after study, each in the order of its images.
        starts: (M + 1,) int64, where in `places` each study begins, and where the last one ends.
        number: (N,) int64 of each row's study.
        first: (M,) int64, the first row of each study.
        views: (N,) int64 of each row, an index into `view_names`; -1 where it is unknown. None
            where the table has no views.
        view_names: The views, sorted.
        together: Whether the images of a study are slices, which are augmented alike.
    """

    places: Tensor
    starts: Tensor
    number: Tensor
    first: Tensor
    views: Tensor | None = None
    view_names: tuple[str, ...] = ()
    together: bool = False

    def sizes(self, rows: Tensor) -> Tensor:
        """Return the number of images (B,) of studies, each named by one of its rows (B,)."""
        return self.starts.diff()[self.number[rows]]

    def instances(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows (n,) of the images of studies, and the place (n,) of each one's study.

        Args:
            rows: (B,) int64, one of each study, in the order in which they count from 0.
        """
        numbers = self.number[rows]
        starts, counts = self.starts[numbers], self.sizes(rows)
        bag = torch.repeat_interleave(torch.arange(len(rows)), counts)
        return self.places[starts[bag] + places(bag)], bag


def learns_studies(model: Mapping[str, Any] | None) -> bool:
    """Return whether the net of a model config takes the images of a study together."""
    return (model or {}).get("aggregate") is not None


def context_of_one(
    images: int, known: Mapping[str, Any], views: Sequence[str | None] | None = None
) -> dict[str, Tensor]:
    """Return what a net of studies is told of the images of one study.

    Args:
        images: Their number n.
        known: ``studies`` of a card: the ``views`` that the net knows, and whether it takes images
            in an order that means something (``ordered``).
        views: Of each image, None where it is unknown; None where none is known.

    Returns:
        ``bag`` (n,), and as of `medcnn.data.row_batches.RowDataset` ``view`` and ``order``.

    Raises:
        UserError: Another number of views, one that the net doesn't know, or one twice.
    """
    context = {"bag": torch.zeros(images, dtype=torch.int64)}
    if known["ordered"]:
        context["order"] = torch.arange(images)
    if views is None:
        return context
    names, told = list(known["views"]), [view for view in views if view is not None]
    if len(views) != images:
        raise UserError(f"{len(views)} views are given for {images} images: give one for each")
    if strange := [view for view in told if view not in names]:
        known_ones = ", ".join(names) or "no views"
        raise UserError(f"view {strange[0]} is unknown: the training has {known_ones}")
    if len(set(told)) < len(told):
        raise UserError(f"views={list(views)}: a study has each view once at most")
    codes = [names.index(view) if view is not None else -1 for view in views]
    return context | {"view": torch.tensor(codes)}


def studies_of(table: pd.DataFrame, views: Sequence[str] | None = None) -> Studies:
    """Return the studies of a sample table; a row without one is a study by itself.

    Slices are in the order of column ``slice``, those of one file before those of the next; other
    images are in the order of the table.

    Args:
        table: Of `medcnn.data.samples.Samples`.
        views: Those that a net knows; None for those of the table.

    Raises:
        UserError: There is no column ``study``, a study has a view twice, or there are more views
            than can be.
    """
    if "study" not in table:
        raise UserError(
            "model.aggregate puts the images of a study together, and nothing says which belong "
            "together: name the column (dataset.columns.study), or take slices of volumes "
            "(dataset.slices=all)"
        )
    number, first = study_numbers(table)
    keys = [number]
    together = "slice" in table and TILES[-1] not in table
    if "slice" in table:
        in_file = pd.to_numeric(table["slice"], errors="coerce").fillna(0).to_numpy()
        keys = [in_file, _files(table), number]
    order = np.lexsort((np.arange(len(table)), *keys))
    counts = np.bincount(number)
    codes, names = _views(table, number, first, views)
    return Studies(
        torch.from_numpy(order),
        torch.from_numpy(np.concatenate([[0], counts.cumsum()])),
        torch.from_numpy(number),
        torch.from_numpy(first),
        codes,
        names,
        together,
    )


def study_numbers(table: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of each row's study, by first appearance, and each study's first row.

    A row without a study is one by itself; the same study of two patients, or in two splits, is
    two.
    """
    alone = np.where(table["study"].isna(), np.arange(1, len(table) + 1), 0)
    groups = table[STUDY].assign(alone=alone).groupby([*STUDY, "alone"], sort=False, dropna=False)
    studies = np.array(groups.ngroup(), dtype=np.int64)
    return studies, np.unique(studies, return_index=True)[1].astype(np.int64)


def _files(table: pd.DataFrame) -> NDArray[np.int64]:
    """Return the number of each row's file, by first appearance; 0 where no two rows share one."""
    numbers, files = pd.factorize(table["image"])
    return numbers.astype(np.int64) if len(files) < len(table) else np.zeros(len(table), np.int64)


def _views(
    table: pd.DataFrame,
    number: NDArray[np.int64],
    first: NDArray[np.int64],
    known: Sequence[str] | None,
) -> tuple[Tensor | None, tuple[str, ...]]:
    """Return the view of each row, and the names of all."""
    if "view" not in table:
        return None, tuple(known or ())
    codes, names = pd.factorize(table["view"], sort=True)
    if len(names) > MOST_VIEWS:
        raise UserError(
            f"column view holds {len(names)} different views, such as {names[0]} and {names[1]}: "
            f"a view is one of a few (at most {MOST_VIEWS}), such as frontal; name the right "
            "column (dataset.columns.view), or none: null"
        )
    given = pd.DataFrame({"number": number, "view": codes, "image": table["image"].to_numpy()})
    of_study = given[codes >= 0].drop_duplicates()[["number", "view"]]  # slices share their file's
    twice = of_study[of_study.duplicated()]
    if len(twice):
        study, view = int(twice["number"].iloc[0]), names[int(twice["view"].iloc[0])]
        raise UserError(
            f"column view: study {table['study'].iloc[first[study]]} has the view {view} "
            f"{int((of_study == twice.iloc[0]).all(axis=1).sum())} times "
            f"({twice['number'].nunique()} such studies); it has each view once at most; "
            "dataset.columns.view=null takes no views"
        )
    if known is None:
        return torch.from_numpy(codes.astype(np.int64)), tuple(map(str, names))
    strange = [str(name) for name in names if str(name) not in known]
    if strange:
        note(
            f"column view: {shortened(strange)} was not in the training, which knows "
            f"{shortened(list(known)) or 'no views'}; such images count as of unknown view"
        )
    place = {name: k for k, name in enumerate(known)}
    of_net = table["view"].map(lambda name: place.get(str(name), -1))
    return torch.from_numpy(of_net.to_numpy(np.int64, copy=True)), tuple(known)
