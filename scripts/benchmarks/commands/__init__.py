"""The commands of `scripts/benchmark.py`, one file each; they run in the process of the script."""
