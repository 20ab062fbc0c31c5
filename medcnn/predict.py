"""``python -m medcnn.predict``: classify new images."""

import sys
from pathlib import Path

from omegaconf import DictConfig

from medcnn import cli
from medcnn.errors import UserError, check_whole_number
from medcnn.files import write_csv


def predict(cfg: DictConfig, trust: list[str]) -> None:
    """Write one row an image: its path, the probability of each class, and the decision.

    Images are brought to the size and the channels that the net was trained on. A file that can't
    be read is named, and the others are classified all the same.

    Args:
        cfg: The config as composed from conf/predict.yaml.
        trust: Names that the checkpoint's config may hold beside medcnn's own.

    Raises:
        UserError: Anything that the user can put right.
    """
    import torch
    from torch import Tensor

    from medcnn.classifier import load
    from medcnn.data.read import list_images, read_image, to_network
    from medcnn.results import decision_table
    from medcnn.trainer import autocast, device_of

    output = Path(cfg.output)
    if output.exists() and not cfg.overwrite:
        raise UserError(f"output={output} exists; overwrite=true replaces it")
    classifier = load(cfg.checkpoint, trust=trust).to(device_of(cfg.accelerator))
    card = classifier.card
    batch_size = card["config"]["batch_size"] if cfg.batch_size is None else cfg.batch_size
    check_whole_number("batch_size", batch_size, least=1)
    paths = list_images(cfg.images)
    read: list[Path] = []
    probs: list[Tensor] = []
    for first in range(0, len(paths), batch_size):
        batch: list[Tensor] = []
        for path in paths[first : first + batch_size]:
            try:
                image = to_network(read_image(path), card["in_channels"], card["input_size"])
            except UserError as error:
                print(f"medcnn: {error}", file=sys.stderr)
                continue
            read.append(path)
            batch.append(image)
        if batch:
            with autocast(classifier):
                probs.append(classifier.classify(torch.stack(batch)).cpu())
    if not read:
        raise UserError(f"images={cfg.images}: none of {len(paths)} files could be read")
    table = decision_table(classifier.objective, torch.cat(probs), card["class_names"])
    table.insert(0, "image", [str(path) for path in read])
    write_csv(output, table)
    print(f"{output}: {len(read)} of {len(paths)} images classified", flush=True)
    if len(read) < len(paths):
        raise UserError(f"{len(paths) - len(read)} of {len(paths)} images could not be read")


if __name__ == "__main__":
    cli.main(predict, "predict")
