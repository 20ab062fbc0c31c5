"""A trained classifier over files or a split: views, tables, score maps."""
