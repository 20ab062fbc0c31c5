"""``python -m medcnn.features``: the filters of a net, and what its layers make of an image."""

from pathlib import Path

from medcnn.errors import check_checkpoint
from medcnn.jobs import command_line as cli
from medcnn.jobs.settings.commands import Features


def main(cfg: Features, trust: list[str]) -> list[Path]:
    """Draw what a net's layers make of an image; see `medcnn.evidence.feature_maps`."""
    check_checkpoint(cfg.checkpoint)
    from medcnn.evidence.feature_maps import draw_features

    return draw_features(cfg, trust)


if __name__ == "__main__":
    cli.main(main, "features")
