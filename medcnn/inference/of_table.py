"""Inference of a table of new patients, whose labels nobody knows: one row an image or a study."""

from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from medcnn.classifier.card import check_fits
from medcnn.classifier.classifier import Classifier
from medcnn.classifier.ensemble import load_members, point_of
from medcnn.data.batches import DataModule
from medcnn.data.checks.dataset import DataSet
from medcnn.data.open_data import open_data
from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.inference.mc_dropout import check_mc_dropout
from medcnn.inference.of_split import stand_for_all
from medcnn.inference.tables import predictions_table, studies_table
from medcnn.inference.tta import bare_trainer, collect, mirrored_axes_of
from medcnn.jobs.atomic_files import check_folder, for_spreadsheets
from medcnn.jobs.notes import note
from medcnn.jobs.settings.commands import OpenData, Predict
from medcnn.jobs.table_files import check_table_file, write_table

CSV = "medcnn.data.sources.table.csv"
OF_TEST = ("row", "split")  # columns of predictions.csv that say nothing of a new patient


def classify_table(cfg: Predict, trust: list[str]) -> None:
    """Write one row an image of a table, or a study: what is known of it, probabilities, decision.

    Images of one study are taken together by a network that learnt to (``model.aggregate``), else
    their predictions are put together as in training (``aggregate``). A column of labels isn't
    looked at. A file that can't be read is named, and the others are classified all the same.

    Args:
        cfg: See conf/predict.yaml.
        trust: Names that the checkpoint's config may hold beside medcnn's own.
    """
    output = _checked(cfg)
    for_spreadsheets(cfg.spreadsheet)
    _, members, choices = load_members(cfg.checkpoint, cfg.ensemble, trust)
    axes = mirrored_axes_of(cfg.tta, members)
    check_mc_dropout(members, cfg.mc_dropout)
    classifier = members[0]
    for member in members:
        member.calibrate(cfg.calibration)
    classifier.mirrored = bool(axes)
    trained = classifier.card["config"]
    trainer = bare_trainer(cfg.accelerator, trained["trainer"]["precision"])
    data = open_data(_settings(cfg, classifier.card), trust, card=classifier.card, checked=False)
    check_fits(classifier, data.samples)
    batch_size = trained["batch_size"] if cfg.batch_size is None else cfg.batch_size
    loaders = DataModule(data.samples, batch_size)
    collected = collect(trainer, members, loaders, axes, cfg.mc_dropout)
    if len(members) > 1:
        stand_for_all(classifier, point_of(choices, cfg.calibration, bool(axes)))
    table = _table(classifier, data.samples, collected)
    write_table(output, table)
    _report(output, data, table)


def _checked(cfg: Predict) -> Path:
    """Return the output, which may be written to; raise UserError for what a table can't have."""
    if cfg.dataset["_target_"] != CSV:
        raise UserError("dataset=… of medcnn.predict is a table: dataset=csv; or give images=…")
    if cfg.images is not None:
        raise UserError(f"images={cfg.images} and dataset=csv: give one of them")
    for key, value in (("packed", cfg.packed), ("dense", cfg.dense), ("size", cfg.size)):
        if value:
            raise UserError(f"{key}={str(value).lower()} goes with images=…, not with a table")
    if cfg.processes > 1:
        raise UserError(f"processes={cfg.processes} goes with images=…: one process takes a table")
    output = Path(cfg.output)
    check_table_file("output", output)
    if output.exists() and not cfg.overwrite:
        raise UserError(f"output={output} exists; overwrite=true replaces it")
    check_folder(f"output={output}", output.parent)
    return output


def _settings(cfg: Predict, card: dict[str, Any]) -> OpenData:
    """Return the settings that open the table as all new, whatever its labels and splits."""
    columns = {**(cfg.dataset.get("columns") or {}), "label": None, "split": None}
    positive = card["class_names"][card["positive"]] if card["positive"] is not None else None
    source = {
        **cfg.dataset,
        "columns": columns,
        "separator": None,
        "no_finding": None,
        "task": card["task"],
        "classes": card["class_names"],
        "positive": positive if card["task"] == "binary" else None,
    }
    given = {"dataset": source, "cache": cfg.cache.plain(), "paths": cfg.paths.plain()}
    plain = {"on_error": "skip", "pseudonymise": False, "near_duplicates": False, "strict": False}
    return OpenData.model_validate(given | plain | dict.fromkeys(("splits", "folds", "fold")))


def _table(classifier: Classifier, samples: Samples, collected: dict[str, Tensor]) -> pd.DataFrame:
    """Return a row an image or a study: what is known of it, and what is predicted."""
    objective, point = classifier.objective, classifier.operating_point
    if point is None and objective.task in ("binary", "multilabel"):
        note("no operating point was chosen: decisions are made at 0.5")
    if "study" in samples.table and samples.studies is None:
        how = classifier.card["config"]["aggregate"]
        table = studies_table(samples, objective, collected, how, point)
    else:
        table = predictions_table(samples, objective, collected, point)
    labels = [name for name in table if name == "label" or str(name).startswith("label:")]
    return table.drop(columns=[name for name in (*OF_TEST, *labels) if name in table])


def _report(output: Path, data: DataSet, table: pd.DataFrame) -> None:
    """Say how many rows the output holds; raises UserError if some files are missing."""
    many = "studies" if "study" in table else "images"
    print(f"{output}: {len(table)} {many} classified", flush=True)
    if data.problems:
        raise UserError(f"{len(data.problems)} files could not be read, and are left out")
