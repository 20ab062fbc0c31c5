"""Inference of files: read, classified, and counted, in parts that several processes share."""

from pathlib import Path
from typing import Any

from medcnn.errors import UserError
from medcnn.inference.parts import PARTS, Parts, begin_parts, is_begun, kept_parts, opened_parts
from medcnn.inference.predictor import Predictor
from medcnn.inference.several_processes import Task, do_all
from medcnn.jobs.atomic_files import check_folder, for_spreadsheets
from medcnn.jobs.hardware import set_threads
from medcnn.jobs.settings.commands import Predict
from medcnn.jobs.table_files import check_table_file, is_parquet

WORKER = "medcnn.inference.worker"
ROWS_PACKED, ROWS_OF_FILES, ROWS_OF_MAPS = 10_000, 1_000, 100  # of a part, at most


def classify_files(cfg: Predict, trust: list[str]) -> None:
    """Write one row an image: its path, the probability of each class, and the decision.

    Where the training chose an operating point, the decision is made at its threshold, which is
    there too: the positive class is called where its probability reaches that; of several labels
    each has one. An ensemble has the one that a cross-validation chose for it, or none.

    Images are prepared as those that the net was trained on. A file that can't be read is named,
    and the others are classified all the same.

    The work is cut into parts (`medcnn.inference.parts`), which are kept in ``<output>.parts``
    until all are done. So the same command goes on after it was ended, however that was.

    Args:
        cfg: See conf/predict.yaml.
        trust: Names that the checkpoint's config may hold beside medcnn's own.
    """
    for_spreadsheets(cfg.spreadsheet)
    output = _free_output(cfg)
    predictor = Predictor(cfg, trust)
    maps = predictor.maps and predictor.maps.folder
    if maps and maps.exists() and not (cfg.overwrite or is_begun(output)):
        raise UserError(f"{maps} exists; overwrite=true writes into it")
    again = "the same command without overwrite=true" if cfg.overwrite else "the same command"
    task = Task(WORKER, {"cfg": cfg.plain(), "trust": trust}, cfg.processes, again)
    with kept_parts(output, cfg.overwrite) as folder:
        parts = _parts(cfg, predictor, output, folder)
        do_all(parts, predictor, "files mapped" if maps else "images classified", task)
        classified = parts.join(output)
    if not classified:
        used = "used" if maps else "read or classified"
        raise UserError(f"images={cfg.images}: none of {parts.total} files could be {used}")
    report(output, classified, parts.total)


def _free_output(cfg: Predict) -> Path:
    """Return the file that ``output`` names, which may be written to."""
    output = Path(cfg.output)
    check_table_file("output", output)
    if output.exists() and not (cfg.overwrite or is_begun(output, to_replace=True)):
        raise UserError(f"output={output} exists; overwrite=true replaces it")
    check_folder(f"output={output}", output.parent)
    return output


def _parts(cfg: Predict, predictor: Predictor, output: Path, folder: Path) -> Parts:
    """Return the parts of the work, after a look at what there is to do and what is done."""
    digest = predictor.list_images(folder)
    total = len(predictor.open_images(folder))
    most = ROWS_PACKED if cfg.packed else ROWS_OF_MAPS if cfg.dense else ROWS_OF_FILES
    batches = max(1, min(most, total // (PARTS * cfg.processes)) // predictor.batch_size)
    return begin_parts(
        folder,
        predictor.depends_on(digest, total),
        total,
        batches * predictor.batch_size,  # so that images share a batch with the same ones always
        ".parquet" if is_parquet(output) else ".csv",
        replaces=cfg.overwrite,
    )


def begin_in_worker(job: dict[str, Any]) -> tuple[Parts, Predictor]:
    """Return the parts and the work of a job, in one of several processes."""
    cfg = Predict.model_validate(job["cfg"])
    set_threads(None, job["of"])
    for_spreadsheets(cfg.spreadsheet)
    predictor = Predictor(cfg, job["trust"], job["worker"])
    parts = opened_parts(job["parts"])
    predictor.open_images(parts.folder)
    return parts, predictor


def report(output: Path, done: int, asked: int) -> None:
    """Say how many images the output holds; raises UserError if some are missing."""
    print(f"{output}: {done} of {asked} images classified", flush=True)
    if done < asked:
        raise UserError(f"{asked - done} of {asked} images could not be read or classified")
