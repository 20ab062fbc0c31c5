"""``python -m medcnn.predict``: classify new images."""

from medcnn.errors import check_checkpoint
from medcnn.jobs import command_line as cli
from medcnn.jobs.settings.commands import Predict


def predict(cfg: Predict, trust: list[str]) -> None:
    """Classify files; see `medcnn.inference.of_files.classify_files`."""
    if cfg.checkpoint is not None:
        check_checkpoint(cfg.checkpoint)
    from medcnn.inference.of_files import classify_files

    classify_files(cfg, trust)


if __name__ == "__main__":
    cli.main(predict, "predict")
