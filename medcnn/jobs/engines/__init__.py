"""Where the jobs of a sweep and the workers of a search run: joblib, SLURM or Ray."""
