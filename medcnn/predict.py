"""``python -m medcnn.predict``: classify new images."""

from medcnn.errors import UserError, check_checkpoint
from medcnn.jobs import command_line as cli
from medcnn.jobs.settings.commands import Predict


def predict(cfg: Predict, trust: list[str]) -> None:
    """Classify files, or those of a table.

    See `medcnn.inference.of_files.classify_files` and `medcnn.inference.of_table.classify_table`.
    """
    if cfg.checkpoint is not None:
        check_checkpoint(cfg.checkpoint)
    if "_target_" in cfg.dataset:
        from medcnn.inference.of_table import classify_table

        return classify_table(cfg, trust)
    if cfg.images is None:
        raise UserError("give images=…, or a table: dataset=csv dataset.path=table.csv")
    from medcnn.inference.of_files import classify_files

    return classify_files(cfg, trust)


if __name__ == "__main__":
    cli.main(predict, "predict")
