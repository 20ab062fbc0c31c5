"""``python -m medcnn.evaluate``: the figures of a checkpoint again, or on other data."""

from typing import Any

from medcnn.errors import check_checkpoint
from medcnn.jobs import command_line as cli
from medcnn.jobs.settings.commands import Evaluate


def evaluate(cfg: Evaluate, trust: list[str]) -> dict[str, Any]:
    """Test a checkpoint on a split; see `medcnn.inference.of_split.evaluate_split`."""
    if cfg.checkpoint is not None:
        check_checkpoint(cfg.checkpoint)
    from medcnn.inference.of_split import evaluate_split

    return evaluate_split(cfg, trust)


if __name__ == "__main__":
    cli.main(evaluate, "evaluate")
