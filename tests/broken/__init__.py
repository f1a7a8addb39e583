"""Workflow files that are wrong, each with what is reported about it in a file beside it.

`python -m tests.broken NAME...` shows today's problems under the lines that they concern; without
names it shows all. `python -m tests.broken --write` makes the expectations anew: read the
difference before you keep it.
"""
