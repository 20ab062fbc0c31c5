"""Audit of a data set, and what is said of its problems."""
