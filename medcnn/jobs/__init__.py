"""Around any command: command line, guard, hardware, processes, run directory, files."""
