"""``python -m medcnn.predict``: classify new images."""

from pathlib import Path

from omegaconf import DictConfig

from medcnn.errors import UserError, check_checkpoint, check_path, check_whole_number
from medcnn.inference.of_files import classify_all, read_all, report
from medcnn.jobs import command_line as cli
from medcnn.jobs.atomic_files import check_folder, for_spreadsheets, write_csv
from medcnn.jobs.notes import note
from medcnn.jobs.progress import progress
from medcnn.jobs.terminal import say


def predict(cfg: DictConfig, trust: list[str]) -> None:
    """Write one row an image: its path, the probability of each class, and the decision.

    Where the training chose an operating point, the decision is made at its threshold, which is
    there too: the positive class is called where its probability reaches that; of several labels
    each has one. An ensemble has the one that a cross-validation chose for it, or none.

    With ``tta=flips`` the mean over mirror images, along the axes that the training mirrored.

    Images are prepared as those that the net was trained on. A file that can't be read is named,
    and the others are classified all the same.

    Args:
        cfg: The config as composed from conf/predict.yaml.
        trust: Names that the checkpoint's config may hold beside medcnn's own.

    Raises:
        UserError: Anything that the user can put right.
    """
    if cfg.checkpoint is not None:
        check_checkpoint(cfg.checkpoint)
    import numpy as np
    import torch

    from medcnn.classifier.classifier import Classifier
    from medcnn.classifier.ensemble import Ensemble, load, load_members
    from medcnn.data.image import spec_of
    from medcnn.data.image_files import list_images
    from medcnn.data.inputs import NAN, as_asked
    from medcnn.evaluation.few_images import isotonic_lines
    from medcnn.evaluation.studies import aggregate
    from medcnn.inference.tables import decision_table
    from medcnn.inference.tta import mirrored_axes
    from medcnn.jobs.hardware import device_of

    for_spreadsheets(cfg.get("spreadsheet", False))
    check_path("output", cfg.output)
    output = Path(cfg.output)
    if output.exists() and not cfg.overwrite:
        raise UserError(f"output={output} exists; overwrite=true replaces it")
    check_folder(f"output={output}", output.parent)
    if cfg.checkpoint is None or cfg.ensemble:
        _, together, choices = load_members(cfg.checkpoint, cfg.ensemble, trust)
        loaded: Classifier | Ensemble = Ensemble(together, choices).eval()
    else:
        loaded = load(cfg.checkpoint, trust=trust)
    classifier = loaded.to(device_of(cfg.accelerator))
    card = classifier.card
    axes = mirrored_axes(cfg.tta, card["config"])
    batch_size = card["config"]["batch_size"] if cfg.batch_size is None else cfg.batch_size
    check_whole_number("batch_size", batch_size, least=1)
    spec = as_asked(spec_of(card), cfg.dataset)
    paths = list_images(cfg.images, volumes=spec.spatial_dims == 3 or spec.slices is not None)
    if not isinstance(cfg.dense, bool):
        raise UserError(f"dense={cfg.dense}: choose true or false")
    if cfg.size is not None and not cfg.dense:
        raise UserError("size=… goes with dense=true: else images become those of the training")
    if cfg.dense and (cfg.calibration != "none" or axes):
        raise UserError(
            "calibration=… and tta=… go with whole images; dense=true maps plain scores"
        )
    classifier.calibrate(cfg.calibration)
    if cfg.calibration == "isotonic":
        one = classifier.members[0] if isinstance(classifier, Ensemble) else classifier
        for line in isotonic_lines(one.choices):  # type: ignore[arg-type]
            note(line)
    if classifier.operating_point is None and card["task"] in ("binary", "multilabel"):
        note("no operating point was chosen: decisions are made at 0.5")
    if cfg.dense:
        from medcnn.inference.score_maps import maps_of, score_maps

        if maps_of(output).exists() and not cfg.overwrite:
            raise UserError(f"{maps_of(output)} exists; overwrite=true writes into it")
        write_csv(output, table := score_maps(classifier, paths, spec, output, cfg.size))
        report(output, len(table), len(paths))
        return
    read: list[Path] = []
    probs: list[np.ndarray] = []
    for first in progress(range(0, len(paths), batch_size), "batches of files classified"):
        items = read_all(paths[first : first + batch_size], spec, card["in_channels"])
        if items:
            found = classify_all(classifier, list(items.values()), batch_size, axes)
            for path, part in zip(items, found, strict=True):
                if np.isfinite(part).all():
                    probs.append(part)
                    read.append(path)
                else:
                    say(f"{path} {NAN}")
    if not read:
        raise UserError(
            f"images={cfg.images}: none of {len(paths)} files could be read or classified"
        )
    studies = np.repeat(np.arange(len(read)), [len(part) for part in probs])
    how = card["config"].get("aggregate", "mean")
    objective = classifier.objective
    means = {"task": objective.task, "positive": objective.positive}
    several = len(studies) > len(read)
    pooled = aggregate(np.concatenate(probs), studies, how, **means) if several else None  # type: ignore[arg-type]
    shown = torch.from_numpy(np.concatenate(probs) if pooled is None else pooled)
    table = decision_table(
        classifier.objective, shown, card["class_names"], classifier.operating_point
    )
    table.insert(0, "image", [str(path) for path in read])
    write_csv(output, table)
    report(output, len(read), len(paths))


if __name__ == "__main__":
    cli.main(predict, "predict")
