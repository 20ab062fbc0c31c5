"""The trained thing: a net with its normalisation, calibration and decisions; its checkpoint."""
