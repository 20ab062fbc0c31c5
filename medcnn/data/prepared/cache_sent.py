"""A chain of the cache by address: fetched where it is lacking, sent where it was added to."""

from collections.abc import Iterator
from pathlib import Path

from medcnn.jobs.copies import fetch_files
from medcnn.jobs.remote import in_one_line, opened

KEY = "cache.folder"


def fetch_chain(address: str, folder: Path) -> None:
    """Copy a chain's index and packs from an address, if they are there, into its empty folder."""
    with in_one_line(address, KEY):
        fs, root = opened(address)
        names = [path.rpartition("/")[2] for path in fs.find(root)]
    copies = fetch_files(address, names, KEY)
    for path in _files(copies):
        path.rename(folder / path.name)


def send_chain(folder: Path, address: str) -> None:
    """Send a chain's index and packs to an address, in place of those there."""
    with in_one_line(address, KEY, "written"):
        fs, root = opened(address)
        for path in _files(folder):
            fs.put_file(str(path), f"{root}/{path.name}")


def _files(folder: Path) -> Iterator[Path]:
    """Yield packs, then the index, which names what is in them."""
    yield from folder.glob("*.bin")
    yield from folder.glob("index.sqlite")
