"""Synthetic images with a lesion whose place is known."""
