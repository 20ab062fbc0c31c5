"""``python -m medcnn.data``: counts, sizes, intensities, samples and problems of a data set."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from medcnn.data.augment_layout import with_layout
from medcnn.data.checks.audit_report import raise_errors, summary_lines
from medcnn.data.checks.problems import audit_data, compared, problems_table
from medcnn.data.open_data import open_data
from medcnn.data.overview import count, describe, intensities, label_of, shown_rows, unit_images
from medcnn.data.samples import SPLITS, Samples
from medcnn.jobs.atomic_files import check_folder, for_spreadsheets, write_csv, write_json
from medcnn.jobs.claims import alone_in
from medcnn.jobs.instantiate import instantiate
from medcnn.jobs.notes import shortened, visible
from medcnn.jobs.settings.commands import Data

VERSIONS = 3  # of each sample, differently augmented


def look(cfg: Data, trust: list[str]) -> None:
    """Print and write what is in a data set.

    The folder ``output`` then holds ``counts.csv``, ``samples.csv``, ``problems.csv``,
    ``data.json``, ``intensity.png`` and ``samples.png``, a contact sheet of training samples as the
    network receives them, with the outlines of known lesions; where images are cut
    (``dataset.crop``) also ``crops.png``, the whole images of the same samples; of tiles
    ``tiles.png``, the slides that they are of, dark where none is taken.

    Raises:
        UserError: The data can't be trained on as they are; at the end, when all is written.
    """
    for_spreadsheets(cfg.spreadsheet)
    folder = Path(cfg.output)
    check_folder(f"output={folder}", folder)
    with alone_in(folder):
        _look(cfg, trust, folder)


def _tiles(samples: Samples, rows: Tensor, names: Sequence[str], folder: Path) -> list[str]:
    """Draw ``tiles.png`` of the slides of some rows; return its name, nothing of volumes."""
    from medcnn.evidence.of_tiles import slides_of
    from medcnn.report.pictures.tiles import tile_sheet

    assert samples.originals is not None
    if samples.originals.spec.spatial_dims == 3:
        return []
    pair = samples.ranges(rows[:1])[0].tolist()
    tile_sheet(slides_of(samples.originals, rows.tolist(), names, pair), folder / "tiles.png")
    return ["tiles.png"]


def _look(cfg: Data, trust: list[str], folder: Path) -> None:
    from medcnn.evidence.own_grid import item_of_row
    from medcnn.report.pictures.data import (
        contact_sheet,
        crop_sheet,
        intensity_histogram,
        side_by_side,
    )

    augment = instantiate(cfg.augment, "augment", trust, seed=cfg.seed)
    data = open_data(cfg, trust, problems=folder / "problems.csv", checked=False)
    audit_data(data, cfg)
    samples = data.samples
    augment = with_layout(augment, samples.layout)
    counts = count(samples)
    facts = describe(data)
    print(f"{samples.name}: {samples.task} of {shortened(samples.class_names)}")
    print(counts.to_string(), end="\n\n")
    for name, value in facts.items():
        print(f"{name}: {value}")
    write_csv(folder / "counts.csv", counts, index_label="")
    write_csv(folder / "samples.csv", samples.table, index_label="row")
    write_json(folder / "data.json", {"name": samples.name, "task": samples.task, **facts})
    problems = problems_table(data, cfg)
    write_csv(folder / "problems.csv", problems)
    rows = shown_rows(samples, cfg.n)
    images = unit_images(samples, rows)
    versions = [augment(images, rows, epoch) for epoch in range(VERSIONS)] if augment else []
    names = [f"row {row}: {label_of(samples, row)}" for row in rows.tolist()]
    masks = None if samples.masks is None else samples.masks[rows]
    sheet = [side_by_side(one, samples.layout) for one in [images, *versions]]
    tiles = sheet[0].shape[-1] // images.shape[-1]
    outlines = None if masks is None else masks.repeat(*[1] * (masks.ndim - 1), tiles)
    contact_sheet(sheet, names, folder / "samples.png", outlines)
    pictures = ["samples.png", "intensity.png"]
    if samples.spec is not None and samples.spec["crop"] != "none":
        seen = torch.ones(samples.input_size)
        items = [
            item_of_row(samples, row, images[k], seen, None if masks is None else masks[k])
            for k, row in enumerate(rows.tolist())
        ]
        crop_sheet(items, names, folder / "crops.png")
        pictures.append("crops.png")
    if samples.originals is not None and samples.originals.spec.tiles is not None:
        pictures += _tiles(samples, rows, names, folder)
    values = {split: intensities(samples, split) for split in SPLITS}
    intensity_histogram({k: v for k, v in values.items() if len(v)}, folder / "intensity.png")
    for line in summary_lines(data.findings, samples.table, compared(data, cfg)):
        print(f"audit: {visible(line)}")
    print(
        f"{folder}: {len(problems)} problems in problems.csv, {', '.join(pictures)}",
        flush=True,
    )
    raise_errors(data.findings, samples.table)
