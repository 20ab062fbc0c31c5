"""Samples → splits → images → batches."""
