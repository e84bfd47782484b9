"""The machine underneath: files, progress, free memory, sharing of cores."""
