"""What is wrong with a data set: looked for, printed, and written to problems.csv."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig

from medcnn.data.checks.audit import audit
from medcnn.data.checks.audit_report import findings_table, raise_errors, summary_lines
from medcnn.data.checks.duplicates import LEAST, content_hashes, near_duplicates
from medcnn.data.prepared.open_listing import Opened, Problem
from medcnn.errors import UserError, check_path
from medcnn.jobs.atomic_files import write_csv
from medcnn.jobs.notes import fresh, visible
from medcnn.jobs.pseudonym_key import load_key, pseudonym
from medcnn.jobs.terminal import say

if TYPE_CHECKING:
    from medcnn.data.checks.dataset import DataSet

CONTENT = "content_hash"  # column of samples.csv
DIGITS = 16  # of such a hash: of a million images two share one once in 40 million data sets
SHOWN = 5  # problems that are printed; all are in problems.csv


def report_files(
    opened: Opened, total: int, cfg: DictConfig, file: Path | None, quiet: bool = False
) -> None:
    """Name files that can't be used, unless it is to be quiet; stop, unless they may be left out.

    Where that ends the job they are listed in a file; else the job lists them in its problems.csv.
    The error, which ends up in files of the run, holds no path of an image.

    Args:
        opened: With the files that can't be used, and the images of the others.
        total: How many files there are.
        cfg: With ``on_error`` and ``pseudonymise``.
        file: Where to list them; None for nowhere.
        quiet: Name none.

    Raises:
        UserError: on_error=stop.
    """
    problems, where = opened.problems, ""
    for line in [] if quiet else [f"{p.image} {p.reason}" for p in problems[:SHOWN]]:
        if fresh(line):
            say(line)
    if file is not None and (cfg.on_error == "stop" or opened.images is None):
        write_csv(file, files_table(problems, cfg))
        where = f", all listed in {file}"
    elif file is not None:
        where = ", all listed in problems.csv"
    count = len({problem.image for problem in problems})  # one may have several
    message = f"{count} of {total} images can't be used{where}"
    if cfg.on_error == "stop":
        raise UserError(f"{message}; mend them, or leave them out with on_error=skip")
    if fresh(message):
        say(f"{message}: left out")


def files_table(problems: list[Problem], cfg: DictConfig) -> pd.DataFrame:
    """Files that can't be used, as rows of problems.csv; by pseudonyms if these are asked for."""
    columns = ["severity", "kind", "image", "split", "other_image", "other_split", "reason"]
    key = pseudonym_key(cfg) if cfg.pseudonymise else None
    names = [p.image if key is None else pseudonym(p.image, key) for p in problems]
    rows = [
        ("error", "unusable file", name, "", "", "", problem.reason)
        for name, problem in zip(names, problems, strict=True)
    ]
    return pd.DataFrame(rows, columns=columns)


def audit_data(data: "DataSet", cfg: DictConfig) -> None:
    """Look for leaks between the splits, and keep what is found in the data set's `findings`.

    The sample table gets a column ``content_hash``, by which an image is known under another name.
    """
    samples = data.samples
    found = contents(data)
    hide = partial(pseudonym, key=pseudonym_key(cfg), kind=CONTENT) if cfg.pseudonymise else str
    samples.table[CONTENT] = [None if one is None else hide(one) for one in found]
    splits = samples.table["split"].tolist()
    near = near_duplicates(samples.images, splits) if compared(data, cfg) else None
    data.findings = audit(
        samples.table,
        samples.task,
        samples.label_columns,
        samples.class_names,
        content=found,
        near=near,
        strict=cfg.strict,
    )


def compared(data: "DataSet", cfg: DictConfig) -> bool:
    """Whether near-duplicates are looked for: if asked for, and images are large enough."""
    return cfg.near_duplicates and min(data.samples.input_size) >= LEAST


def contents(data: "DataSet", rows: NDArray[np.int64] | None = None) -> list[str | None]:
    """A hash of each image's content, in hexadecimal digits; None for an image of one grey.

    Args:
        data: The images.
        rows: Of the sample table; None for all.
    """
    rows = np.arange(len(data.samples)) if rows is None else rows
    if data.facts:
        found = [data.facts[row]["digests"][data.slices[row]] for row in rows.tolist()]
    else:
        found = []
        for part in torch.from_numpy(rows).split(256):
            found += content_hashes(data.samples.images[part])
    texts = [one.hex() if isinstance(one, bytes) else one for one in found]
    return [None if text is None else text[:DIGITS] for text in texts]


def tell_findings(data: "DataSet", cfg: DictConfig, file: Path | None) -> None:
    """Print what the audit found; at errors write it to a file, if one is given, and stop."""
    table = data.samples.table
    for line in summary_lines(data.findings, table, compared(data, cfg)):
        if fresh(line):
            print(f"audit: {visible(line)}", flush=True)
    if file is not None and any(finding.severity == "error" for finding in data.findings):
        write_csv(file, problems_table(data, cfg))
    raise_errors(data.findings, table)


def problems_table(data: "DataSet", cfg: DictConfig) -> pd.DataFrame:
    """All that was found, a row a file or a pair of images, as problems.csv has it."""
    found = findings_table(data.findings, data.samples.table)
    return pd.concat([files_table(data.problems, cfg), found], ignore_index=True)


def pseudonym_key(cfg: DictConfig) -> bytes:
    """The key in the file that ``paths.pseudonym_key`` names."""
    check_path("paths.pseudonym_key", cfg.paths.pseudonym_key)
    return load_key(Path(cfg.paths.pseudonym_key).expanduser())
