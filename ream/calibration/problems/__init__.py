"""The built-in ``math`` source: problems with worked solutions, generated from templates."""
