"""Pictures of layers, data, score maps and training curves."""
