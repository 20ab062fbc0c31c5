"""``python -m medcnn.data``: what medcnn sees in a data set, before anything is trained on it."""

from medcnn.jobs import command_line as cli
from medcnn.jobs.settings.commands import Data


def main(cfg: Data, trust: list[str]) -> None:
    """Print and write what is in a data set; see `medcnn.check_data.look`."""
    from medcnn.check_data import look

    look(cfg, trust)


if __name__ == "__main__":
    cli.main(main, "data")
