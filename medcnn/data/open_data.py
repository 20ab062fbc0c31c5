"""From a config to samples: the source, its files, its splits, and the audit of all that."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from medcnn.data.as_trained import as_trained, by_training, training_range
from medcnn.data.checks.dataset import DataSet
from medcnn.data.checks.problems import audit_data, pseudonym_key, report_files, tell_findings
from medcnn.data.columns.encoding import lines_on
from medcnn.data.columns.of_samples import (
    asked_columns,
    check_studies,
    fresh_columns,
)
from medcnn.data.image import spec_of
from medcnn.data.listing import Listing
from medcnn.data.memory import available_memory
from medcnn.data.originals import Originals
from medcnn.data.prepared.intensity import file_range
from medcnn.data.prepared.open_listing import open_listing
from medcnn.data.prepared.stacked import StackedImages
from medcnn.data.prepared.stored import HeldImages, StoredImages
from medcnn.data.pseudonyms import pseudonymise
from medcnn.data.samples import HOLDOUT, Samples
from medcnn.data.splits import assign_splits, official_tests
from medcnn.data.studies import learns_studies, studies_of
from medcnn.errors import UserError
from medcnn.jobs.copies import COPIES, copies_in
from medcnn.jobs.instantiate import instantiate
from medcnn.jobs.notes import note, visible
from medcnn.jobs.private import revealed
from medcnn.jobs.settings.commands import Explain, OpenData, Tested
from medcnn.jobs.settings.groups import Splits
from medcnn.jobs.settings.read import read_stored
from medcnn.jobs.settings.values import parse_bytes
from medcnn.objective import Task

SETTINGS = ("dataset", "cache", "on_error", "pseudonymise", "paths")


def open_data(
    cfg: OpenData,
    trust: Iterable[str] = (),
    *,
    problems: Path | None = None,
    card: Mapping[str, Any] | None = None,
    checked: bool = True,
    quiet: bool = False,
) -> DataSet:
    """Return the data set that a config describes, split and audited.

    Args:
        cfg: Its ``splits``, ``folds`` and ``fold`` are None for data that a checkpoint is only
            tested on: those have the splits of their table, or are all test.
        trust: Names that its ``_target_`` may hold beside medcnn's own.
        problems: The table of them to write if the data can't be used; None for none.
        card: Of a checkpoint, whose classes and preparation of files the data are to have.
        checked: Whether to audit, and to print what was found.
        quiet: Name no file, as in a process whose first one has done so.

    Raises:
        UserError: Files that can't be used with on_error=stop, a patient in two splits, duplicates
            in two splits with strict=true; or a source, split or cache that can't be used.
    """
    cfg = revealed(cfg)
    dataset = cfg.dataset
    if card is not None and "classes" in dataset:
        dataset = {**dataset, "classes": list(card["class_names"])}
    with copies_in(Path(cfg.paths.data) / COPIES):  # here as well, for the run's other processes
        source = make_source(dataset, trust)
        official = official_tests(source.table)
        if isinstance(source, Listing):
            data = _open_files(source, cfg, card, problems, quiet)
        else:
            table = source.table
            table["split"] = _splits(table, source.task, source.label_columns, cfg)
            data = DataSet(source)
    by_column = cfg.splits is not None and cfg.splits.method in ("auto", "column")
    data.official_column = official > 0 and by_column
    if checked and official:
        _tell_official(data.samples.table["split"], official, cfg.splits)
    samples = data.samples
    if card is None and by_training(samples):
        samples.intensity_range = training_range(samples)
    asked_columns(samples, dataset, card)
    if cfg.pseudonymise:  # before studies are joined, as messages may name them
        taken = [code["column"] for code in (card or {}).get("features") or []]
        kept = [*samples.features, *taken]
        samples.table = pseudonymise(samples.table, pseudonym_key(cfg), kept)
    model = card["config"]["model"] if card is not None else getattr(cfg, "model", None)
    if learns_studies(model):
        known = None if card is None else card["studies"]["views"]
        samples.join_studies(studies_of(samples.table, known))
    codes = as_trained(samples, card) if card is not None else fresh_columns(samples, model)
    check_studies(samples)
    for line in [] if quiet else lines_on(samples.table, codes):
        note(line)
    if checked:
        audit_data(data, cfg)
        tell_findings(data, cfg, problems)
    return data


def data_config(
    trained: Mapping[str, Any], cfg: Tested, file: str | Path = "the checkpoint"
) -> OpenData:
    """Return the settings of `open_data` for testing a checkpoint.

    Args:
        trained: The config that it was trained with.
        cfg: Of the test: its ``dataset`` stands for other data, which keep their own splits; null
            (or one that names none) for the data of the training, split as they were.
        file: The checkpoint that holds `trained`, for messages.

    Raises:
        UserError: It says how files are read, but names none.
    """
    keys = ("dataset", "splits", "folds", "fold") if of_training(cfg) else ()
    given = [(key, value) for key, value in (cfg.dataset or {}).items() if value is not None]
    if keys and given:
        key, value = given[0]
        others = "image=… or other data" if isinstance(cfg, Explain) else "other data"
        raise UserError(
            f"dataset.{key}={value}: images of the training are read as they were then; "
            f"it goes with {others} (dataset=…)"
        )
    settings = cfg.model_dump(include=set(SETTINGS)) | {"near_duplicates": False, "strict": False}
    settings |= dict.fromkeys(("splits", "folds", "fold"))
    for key in ("on_error", "pseudonymise"):
        settings[key] = trained[key] if settings[key] is None else settings[key]
    if settings["paths"]["pseudonym_key"] is None:
        settings["paths"]["pseudonym_key"] = trained["paths"]["pseudonym_key"]
    return read_stored(OpenData, settings | {key: trained[key] for key in keys}, file)


def of_training(cfg: Tested) -> bool:
    """Return whether a test is on the data of the training, as its ``dataset`` names no source."""
    return "_target_" not in (cfg.dataset or {})


def in_memory(samples: Samples, memory: str | float) -> None:
    """Hold images that lie in the cache in memory if they fit into ``cache.memory``."""
    images = samples.images
    if not isinstance(images, HeldImages):
        return
    budget = available_memory() // 2 if memory == "auto" else parse_bytes("cache.memory", memory)
    if images.nbytes <= budget:
        images.to_memory()
    else:
        print(f"{images.nbytes / 1e9:.2f} GB of images are read from the disk cache as needed")


def _open_files(
    listing: Listing,
    cfg: OpenData,
    card: Mapping[str, Any] | None,
    problems: Path | None,
    quiet: bool,
) -> DataSet:
    if card is not None:
        listing.spec = spec_of(card, listing.spec)
    opened = open_listing(listing, cfg.cache.folder, parse_bytes("cache.disk", cfg.cache.disk))
    table, spec = opened.table, opened.spec
    if opened.problems:
        report_files(opened, len(listing.table), cfg, problems, quiet)
    if opened.images is None:
        raise UserError(f"data set {listing.name}: none of {len(listing.table)} files can be used")
    _tell_colour(opened.images)
    masks = table["mask"].fillna("") if "mask" in table else [""] * len(table)
    own = isinstance(spec.intensity, str) or spec.layout  # each file has a range of its own
    labels = [str(name) for name in table if name == "label" or str(name).startswith("label:")]
    table["split"] = _splits(table, listing.task, labels, cfg)
    return DataSet(
        Samples(
            name=listing.name,
            table=table,
            images=opened.images,
            task=listing.task,
            class_names=listing.class_names,
            positive=listing.positive,
            intensity_range=opened.ranges if own else file_range({}, spec.intensity),
            masks=opened.masks,
            spec=asdict(spec),
            originals=Originals(
                root=listing.root,
                images=table["image"],
                masks=masks,
                slices=opened.slices,
                spec=spec,
                facts=opened.facts,
                first=opened.first,
            ),
            features=listing.features,
        ),
        opened.problems,
        facts=opened.facts,
        slices=opened.slices,
        columns=opened.columns,
    )


def _tell_colour(images: HeldImages) -> None:
    """Note how many images, or files of them, have colour, where others are grey."""
    parts = images.parts if isinstance(images, StackedImages) else [images]
    for part in parts:
        if isinstance(part, StoredImages) and part.grey:
            count = part.shape[0]
            note(
                f"{count - part.grey} of {count} images have colour, so all become three "
                "channels; dataset.channels=1 makes them grey"
            )


def _splits(table: pd.DataFrame, task: Task, labels: list[str], cfg: OpenData) -> pd.Series:
    if cfg.splits is None or cfg.folds is None:  # data that a checkpoint is only tested on
        return table["split"] if "split" in table else pd.Series("test", index=table.index)
    return assign_splits(
        table,
        task,
        labels,
        method=cfg.splits.method,
        shares=cfg.splits.shares.plain(),
        seed=cfg.splits.seed,
        test_sites=cfg.splits.test_sites,
        folds=cfg.folds,
        fold=cfg.fold,
    )


def _tell_official(assigned: pd.Series, official: int, splits: Splits | None) -> None:
    """Note what becomes of the official test images, as many as `official`, if it isn't plain."""
    if kept := int((assigned == HOLDOUT).sum()):
        note(
            f"folds: the {kept} official test images (column split) stay out of them; "
            "splits=patient would spread them over the folds"
        )
    elif splits is not None and splits.method == "patient":
        note(
            f"splits=patient: column split, which names {official} test images, doesn't count: "
            "they are spread over all splits"
        )


# Keys of a dataset config that aren't the source's own, but read here or by other groups
OF_OTHERS = ("name", "features", "epochs", "net_width")


def make_source(dataset: Mapping[str, Any], trust: Iterable[str] = ()) -> Samples | Listing:
    """Return the source that ``dataset`` describes: samples, or files that are still to be opened.

    It is called as the config's ``name`` says, unless that is the name of the kind, such as csv.
    Raises UserError for a config that can't be called, or whose target returns neither.
    """
    node = {key: value for key, value in dataset.items() if key not in OF_OTHERS}
    source = instantiate(node, "dataset", trust)
    if not isinstance(source, Samples | Listing):
        raise UserError(
            f"dataset._target_={node.get('_target_')} has to return medcnn.data.samples.Samples "
            f"or medcnn.data.listing.Listing, but returned {type(source).__name__}"
        )
    kind = (None, str(node.get("_target_")).rpartition(".")[2], node.get("flag"))
    name = dataset.get("name")
    source.name = visible(source.name if name in kind else str(name))
    return source
