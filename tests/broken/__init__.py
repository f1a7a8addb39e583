"""Workflow files that are wrong, each with what is told of it in a file beside it.

`python -m tests.broken NAME...` shows what is told of files today, under the lines that are meant;
without names it shows all. `python -m tests.broken --write` makes the expectations anew: read the
difference before you keep it.
"""
