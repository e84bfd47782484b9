"""What a compression needs before anything runs: memory, disk, arithmetic, time."""
