"""`python -m ream`, and so `torchrun -m ream`: the command line."""

from ream.cli import main

main()
