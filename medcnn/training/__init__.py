"""One run, from config to run directory."""
