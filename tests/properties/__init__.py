"""Properties of everything that reads files of strangers: mutated, each gives a right result or one line."""
