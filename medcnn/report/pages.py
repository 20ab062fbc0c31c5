"""Pages of Jinja's templates."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcnn._version import __version__
from medcnn.jobs.atomic_files import write_text

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"


def write_page(out: Path, template: str, content: dict[str, Any]) -> Path:
    """Write a page, its texts made harmless in HTML, and return `out`."""
    write_text(out, render(template, content))
    return out


def render(template: str, content: dict[str, Any], **filters: Any) -> str:
    """Return a template with its content; a name that isn't there is an error.

    Args:
        template: Its file in ``templates/``; what ends in .html.j2 escapes all that it shows.
        content: Values by the names that the template has for them.
        filters: Functions that the template uses.
    """
    made = _environment(template.endswith(".html.j2"), frozenset(filters.items()))
    return str(made.get_template(template).render(content, version=__version__))


@cache  # for its compiled templates
def _environment(
    escapes: bool, filters: frozenset[tuple[str, Callable[..., Any]]]
) -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=escapes,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= dict(filters)
    return made
