"""Checks of a workflow against the installed classes. Nothing is loaded."""
