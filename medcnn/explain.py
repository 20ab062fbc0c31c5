"""``python -m medcnn.explain``: the maps behind the decisions, and whether they can be believed."""

from typing import Any

from medcnn.errors import UserError, check_checkpoint
from medcnn.jobs import command_line as cli
from medcnn.jobs.settings.commands import Explain


def main(cfg: Explain, trust: list[str]) -> Any:
    """Draw and score the maps of a split (`explain_checkpoint`) or of files (`explain_files`)."""
    check_checkpoint(cfg.checkpoint)
    from medcnn.evidence import scale_of
    from medcnn.evidence.of_split import explain_checkpoint
    from medcnn.report.maps.scale import check_scale

    check_scale(scale_of("gradcam", cfg.scale))
    if cfg.image is not None:
        from medcnn.evidence.of_files import explain_files

        return explain_files(cfg, trust)
    if cfg.processes > 1:
        raise UserError(f"processes={cfg.processes} goes with image=…: one process scores a split")
    return explain_checkpoint(cfg, trust)


if __name__ == "__main__":
    cli.main(main, "explain")
