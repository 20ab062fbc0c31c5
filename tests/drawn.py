"""Words on a figure."""

from matplotlib.figure import Figure
from matplotlib.text import Text


def texts(figure: Figure) -> list[str]:
    """Return all that is written on a figure."""
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]
