"""The checkpoints of a search: those of its best trials."""

from medcnn.planning.search.trials import Trials


def keep_the_best(trials: Trials) -> list[int]:
    """Delete the checkpoints of trials that have ended, but for those of the best few.

    Returns:
        The numbers of these, the best first.
    """
    best = trials.ranked()[: trials.settings.keep]
    for number, one in trials.numbered().items():
        if one.state.is_finished() and number not in best:
            for path in (trials.run(number) / "checkpoints").rglob("*.ckpt"):
                path.unlink(missing_ok=True)
        elif number in best and trials.run(number).best.exists():
            trials.run(number).last.unlink(missing_ok=True)  # with the optimiser's state
    return best
