"""Notebooks as pages of the site: mkdocs calls these functions by their names."""

import json
from typing import Any

from mkdocs.structure.files import File, Files


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each notebook, which stays beside it for download."""
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            page = file.src_uri.replace(".ipynb", ".md")
            files.append(File.generated(config, page, content=as_markdown(file.content_string)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to notebooks to their pages."""
    if page.file.generated_by:
        name = page.file.src_uri.rpartition("/")[2].replace(".md", ".ipynb")
        return f"{markdown.replace('.ipynb)', '.md)')}\n\n[Download this notebook]({name})\n"
    return markdown.replace(".ipynb)", ".md)")


def as_markdown(notebook: str) -> str:
    """Return the cells of a notebook, given as JSON, and their outputs as Markdown."""
    parts = []
    for cell in json.loads(notebook)["cells"]:
        text = "".join(cell["source"])
        code = cell["cell_type"] == "code"
        parts.append(f"```python\n{text}\n```" if code else text)
        parts += [shown(output) for output in cell.get("outputs", [])]
    return "\n\n".join(parts)


def shown(output: dict[str, Any]) -> str:
    """Return an output of a cell as Markdown: its picture, else its text."""
    data = output.get("data", {})
    if "image/png" in data:
        return f"![output](data:image/png;base64,{''.join(data['image/png'].split())})"
    text = "".join(output.get("text", data.get("text/plain", "")))
    return f"```text\n{text.rstrip()}\n```"
