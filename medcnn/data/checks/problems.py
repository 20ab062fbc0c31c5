"""Problems of a data set: searched for, printed, and written to problems.csv."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from medcnn.data.checks.audit import audit
from medcnn.data.checks.audit_report import COLUMNS, findings_table, raise_errors, summary_lines
from medcnn.data.checks.duplicates import LEAST, content_hashes, near_duplicates
from medcnn.data.prepared.open_listing import Opened, Problem
from medcnn.errors import UserError, check_path
from medcnn.jobs.atomic_files import write_csv
from medcnn.jobs.notes import fresh, visible
from medcnn.jobs.pseudonym_key import load_key, pseudonym
from medcnn.jobs.settings.commands import OpenData
from medcnn.jobs.terminal import say

if TYPE_CHECKING:
    from medcnn.data.checks.dataset import DataSet

CONTENT = "content_hash"  # column of samples.csv
DIGITS = 16  # of such a hash: of a million images two share one once in 40 million data sets
SHOWN = 5  # problems that are printed; all are in problems.csv


def report_files(
    opened: Opened, total: int, cfg: OpenData, file: Path | None, quiet: bool = False
) -> None:
    """Print the files that can't be used, of `total`, unless `quiet`; stop with on_error=stop.

    Where that ends the job they are written to `file`; else the job has them in its problems.csv.

    Raises:
        UserError: on_error=stop; without a path of an image, as it ends up in files of the run.
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


def files_table(problems: list[Problem], cfg: OpenData) -> pd.DataFrame:
    """Return the unusable files as rows of problems.csv; by pseudonyms if these are asked for."""
    key = pseudonym_key(cfg) if cfg.pseudonymise else None
    names = [p.image if key is None else pseudonym(p.image, key) for p in problems]
    rows = [
        ("error", "unusable file", name, "", "", "", problem.reason)
        for name, problem in zip(names, problems, strict=True)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def audit_data(data: "DataSet", cfg: OpenData) -> None:
    """Find leaks between the splits, and keep them in the data set's `findings`.

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


def compared(data: "DataSet", cfg: OpenData) -> bool:
    """Return whether near-duplicates are searched for: if asked for, and in large enough images."""
    return cfg.near_duplicates and min(data.samples.input_size) >= LEAST


def contents(data: "DataSet", rows: NDArray[np.int64] | None = None) -> list[str | None]:
    """Return a hash in hexadecimal digits of each image (of `rows`); None for one of one grey."""
    rows = np.arange(len(data.samples)) if rows is None else rows
    if data.facts:
        pairs = zip(rows.tolist(), np.asarray(data.slices)[rows].tolist(), strict=True)
        found: list[str | bytes | None] = [data.facts.digest(*pair) for pair in pairs]
    else:
        found = []
        for part in torch.from_numpy(rows).split(256):
            found += content_hashes(data.samples.images[part])
    texts = [one.hex() if isinstance(one, bytes) else one for one in found]
    return [None if text is None else text[:DIGITS] for text in texts]


def tell_findings(data: "DataSet", cfg: OpenData, file: Path | None) -> None:
    """Print the findings of the audit; at errors write them to a file, if given, and stop."""
    table = data.samples.table
    for line in summary_lines(data.findings, table, compared(data, cfg)):
        if fresh(line):
            print(f"audit: {visible(line)}", flush=True)
    if file is not None and any(finding.severity == "error" for finding in data.findings):
        write_csv(file, problems_table(data, cfg))
    raise_errors(data.findings, table)


def problems_table(data: "DataSet", cfg: OpenData) -> pd.DataFrame:
    """Return all problems and findings as problems.csv has them, a row a file or a pair."""
    found = findings_table(data.findings, data.samples.table)
    return pd.concat([files_table(data.problems, cfg), found], ignore_index=True)


def pseudonym_key(cfg: OpenData) -> bytes:
    """Return the key in the file that ``paths.pseudonym_key`` names."""
    check_path("paths.pseudonym_key", cfg.paths.pseudonym_key)
    return load_key(Path(str(cfg.paths.pseudonym_key)).expanduser())
