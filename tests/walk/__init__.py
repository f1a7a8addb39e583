"""A random walk over edits of workflows and of the files that they name.

One engine lives through the whole walk. After each step of one to three edits its results are
compared, bit by bit, with those of a process that holds nothing.
"""
