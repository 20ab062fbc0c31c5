"""Patients of whom a single picture doesn't tell: two energies, two views, slices, a column."""
