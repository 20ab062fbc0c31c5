"""The images that checkpoints have seen: their runs' samples.csv beside the data of today."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medcnn.classifier.classifier import Classifier
from medcnn.data.checks.dataset import DataSet
from medcnn.data.checks.problems import CONTENT, contents, pseudonym_key
from medcnn.data.open_data import data_config, of_training, open_data
from medcnn.data.samples import ALL_SPLITS, HOLDOUT, NEW
from medcnn.errors import UserError
from medcnn.jobs.atomic_files import read_csv
from medcnn.jobs.pseudonym_key import pseudonym
from medcnn.jobs.settings.commands import Tested

LEARNT = ("train", "val")  # splits that had a say in what a network became
COLUMNS = ("image", "patient", CONTENT)


def open_tested(
    members: Sequence[Classifier],
    checkpoints: Sequence[Path],
    cfg: Tested,
    trust: Sequence[str] = (),
    *,
    problems: Path | None = None,
) -> tuple[DataSet, list[str]]:
    """Open the data that checkpoints are tested on.

    Data of their own training are split as they were then, whatever has become of the table since:
    images that are new belong with their patient if he was trained on, else to the split ``new``.
    Of several checkpoints an image is train or val if it is that of one of them, else test.

    Args:
        members: The classifiers.
        checkpoints: Their files; samples.csv of a run lies two folders up.
        cfg: Of the test.
        trust: Names that ``_target_`` may hold beside medcnn's own.
        problems: See `medcnn.data.open_data.open_data`.

    Returns:
        The data, and what a reader of their figures has to know, in sentences.

    Raises:
        UserError: An image or a patient that was trained on is called test; no image of the
            training is left; or what `open_data` refuses.
    """
    settings = data_config(members[0].card["config"], cfg, checkpoints[0])
    data = open_data(settings, trust, problems=problems, card=members[0].card, checked=False)
    tables = []
    for path in checkpoints:
        table = samples_of(path)
        if table is None:
            return data, [
                f"There is no samples.csv in the run directory of {path.name}: nobody can tell "
                "whether it was trained on these images."
            ]
        tables.append(table)
    hidden = [bool(member.card["config"]["pseudonymise"]) for member in members]
    wanted = ["image", "patient", "slice"]
    now = data.samples.table.reindex(columns=wanted, fill_value="").astype(str)
    key = pseudonym_key(settings) if any(hidden) or settings.pseudonymise else None
    if key is not None:
        now = now if settings.pseudonymise else _hidden(now, key)
        pairs = zip(tables, hidden, strict=True)
        tables = [table if secret else _hidden(table, key) for table, secret in pairs]
    then = _together(tables)
    notes: list[str] = []
    if own := of_training(cfg):
        official = "test" if settings.fold is None else HOLDOUT
        stated = official if data.official_column else None
        splits, notes = _kept(now, data.samples.table["split"], then, stated)
        if len(members) > 1:
            splits = splits.replace(HOLDOUT, "test")
            if cfg.split == "test" and not (splits == "test").any():
                raise UserError(
                    "ensemble: each image was trained on by one of its members, so that none is "
                    "left to test on; give other images with dataset=…"
                )
        data.samples.table["split"] = splits
    if not own or cfg.split not in LEARNT:
        notes += _copies(data, now if own else None, then, cfg.split, key)
    return data, notes


def samples_of(checkpoint: Path) -> pd.DataFrame | None:
    """Return columns image, slice, patient, split and content_hash of a checkpoint's run."""
    path = checkpoint.resolve().parent.parent / "samples.csv"
    try:
        table = read_csv(path).fillna("")
    except (OSError, ValueError):
        return None
    if not {"image", "patient", "split"} <= set(table):
        return None
    return table.reindex(columns=["split", "slice", *COLUMNS], fill_value="")


def _hidden(table: pd.DataFrame, key: bytes) -> pd.DataFrame:
    """Return the same with pseudonyms for images, patients and content."""
    columns = {
        name: [text and pseudonym(text, key, name) for text in table[name]]
        for name in COLUMNS
        if name in table
    }
    return table.assign(**columns)


def _together(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return a row an image or slice, with the split of the member that learnt most from it."""
    whole = pd.concat(tables, ignore_index=True)
    if len(tables) > 1:
        whole["split"] = whole["split"].replace(HOLDOUT, "test")
    whole["split"] = pd.Categorical(whole["split"], ALL_SPLITS, ordered=True)
    first = whole.sort_values("split", kind="stable").drop_duplicates(["image", "slice"])
    return first.astype({"split": str}).set_index("image")


def _kept(
    now: pd.DataFrame, splits: pd.Series, then: pd.DataFrame, stated: str | None
) -> tuple[pd.Series, list[str]]:
    """Return the splits of the training for the images of today, and sentences on what changed.

    Args:
        now: Images, patients and slices.
        splits: As the config of the training would split them today.
        then: Of `_together`.
        stated: The split of the test images that the table itself names; None if it names none.
    """
    before = now["image"].map(then.loc[~then.index.duplicated(), "split"])
    new = before.isna().to_numpy()
    if new.all():
        raise UserError(
            f"none of the {len(now)} images is one of the training (see the run's samples.csv): "
            "give them as other data, with dataset=…"
        )
    learnt = set(then.loc[then["split"].isin(LEARNT), "patient"])
    seen = now["patient"].isin(learnt).to_numpy()
    tested = (splits == stated).to_numpy()
    wrong = tested & np.where(new, seen, before.isin(LEARNT).to_numpy())
    if wrong.any():
        what = "images or of patients" if (wrong & new).any() else "images"
        raise UserError(
            f"column split calls {int(wrong.sum())} images test that are {what} which the "
            f"checkpoint was trained on (the first is row {int(wrong.argmax())}): leave them out, "
            "or set them to train"
        )
    apart = np.where(tested, stated or "", np.where(seen, "train", NEW))
    kept = before.where(~new, pd.Series(apart, index=now.index)).astype(object)
    return kept, _changes(now, then, kept[new])


def _changes(now: pd.DataFrame, then: pd.DataFrame, new: pd.Series) -> list[str]:
    """Return sentences about images that came and went; `new` are the splits of those that came."""
    notes = []
    if len(new):
        counts = new.value_counts()
        parts = [
            f"{counts[name]} {what}"
            for name, what in {
                "train": "of patients that were trained on, and left out",
                "test": "test, as column split says",
                HOLDOUT: "test, as column split says",
                NEW: "that split=new tests",
            }.items()
            if name in counts
        ]
        notes.append(
            f"{len(new)} of {len(now)} images are new since the training: {', '.join(parts)}."
        )
    tested = then.index[~then["split"].isin(LEARNT)]
    if gone := int((~tested.isin(set(now["image"]))).sum()):
        notes.append(f"{gone} of the {len(tested)} test images of the training are gone.")
    return notes


def _copies(
    data: DataSet, now: pd.DataFrame | None, then: pd.DataFrame, split: str, key: bytes | None
) -> list[str]:
    """Return sentences about tested images that were trained on, or have changed since."""
    rows = np.flatnonzero((data.samples.table["split"] == split).to_numpy())
    found = pd.Series([text or "" for text in contents(data, rows)], index=rows)
    if key is not None:
        found = found.map(lambda text: text and pseudonym(text, key, CONTENT))
    learnt = set(then.loc[then["split"].isin(LEARNT), CONTENT]) - {""}
    notes = []
    if copies := int(found.isin(learnt).sum()):
        notes.append(
            f"{copies} of {len(rows)} tested images are, pixel for pixel, images that were trained "
            "on: the figures are too good."
        )
    if now is not None:
        known = pd.Series(then[CONTENT].to_numpy(), then.index + "\n" + then["slice"])
        names = (now["image"] + "\n" + now["slice"]).iloc[rows]
        before = names.map(known).fillna("").to_numpy()
        if changed := int(((before != "") & (before != found.to_numpy())).sum()):
            notes.append(f"{changed} of {len(rows)} tested images have changed since the training.")
    return notes
