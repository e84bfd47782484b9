"""Figures: their common style, one file a figure, and tables of the numbers that each shows."""
