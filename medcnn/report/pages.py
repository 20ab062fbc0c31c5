"""How pages are made of templates."""

from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"


def environment(autoescape: bool = True) -> Any:
    """Jinja's environment of this package's templates; a name that there is not is an error.

    Args:
        autoescape: Whether what is shown is made harmless in HTML.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
