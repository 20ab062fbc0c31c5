"""Trainings that are chosen: a plan from the data and the machine, and searches."""
