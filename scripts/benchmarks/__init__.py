"""What `scripts/benchmark.py` measures.

`dispatch.py` reads the options, `commands/` has one file a command, `running.py` holds a candidate in a
process of its own, and `candidates/` is what runs there.
"""
