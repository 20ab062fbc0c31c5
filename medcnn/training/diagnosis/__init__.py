"""Checks of a training before its first step: what a careful teacher would look at."""
