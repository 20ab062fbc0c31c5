"""``python -m medcnn.search``: many trials of a training, and the best of them."""

from medcnn.errors import UserError
from medcnn.jobs import command_line as cli
from medcnn.jobs.settings.commands import Search


def search(cfg: Search, trust: list[str]) -> None:
    """Begin a search, take part in one, or go on with it; see conf/search.yaml.

    Raises:
        KeyboardInterrupt: With a message that says how to go on.
        UserError: Settings with which no trial can begin, or Optuna isn't installed.
    """
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UserError('a search needs Optuna: pip install "medcnn[search]"') from None
    if cfg.engine.name != "local":
        from medcnn.planning.search.on_engine import start_workers

        start_workers(cfg, trust)
        return
    from medcnn.planning.search.worker import work

    work(cfg, trust)


if __name__ == "__main__":
    cli.main(search, "search")
