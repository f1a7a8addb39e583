"""Checks of a workflow: each yields diagnostics and imports none of the libraries."""
