"""How much memory there is."""

import os
from pathlib import Path


def available_memory(source: Path = Path("/proc/meminfo")) -> int:
    """Bytes of memory that are free, or could be; all there are where the system doesn't say."""
    try:
        _, _, rest = source.read_text(encoding="ascii").partition("MemAvailable:")
        return 1024 * int(rest.split()[0])
    except (OSError, IndexError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
