"""Run directories to pictures and tables."""
