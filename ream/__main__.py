"""`python -m ream`, and so `torchrun -m ream`: the command line."""

from ream.commands.cli import main

main()
