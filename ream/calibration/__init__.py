"""Calibration text: sources, sampling, packing, mixing."""
