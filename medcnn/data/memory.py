"""Memory of this machine."""

import os
from pathlib import Path


def available_memory(source: Path = Path("/proc/meminfo")) -> int:
    """Return the bytes of memory that are free, or could be; all where the system is silent."""
    try:
        _, _, rest = source.read_text(encoding="ascii").partition("MemAvailable:")
        return 1024 * int(rest.split()[0])
    except (OSError, IndexError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
