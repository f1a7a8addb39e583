"""Kinds of edit, by what they change. Importing this package fills `KINDS`."""

from tests.walk.kinds import adapters, arguments, engine, files, models, settings, steps

__all__ = ["adapters", "arguments", "engine", "files", "models", "settings", "steps"]
