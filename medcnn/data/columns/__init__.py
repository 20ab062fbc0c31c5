"""Columns of the sample table as inputs of a network, beside the images."""
