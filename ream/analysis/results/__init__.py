"""Rows of results: our own, the published and the imported ones, all in one shape."""
