"""The folder with two workflows, in which the tests of the shell run as well."""

from tests.repl.conftest import folder  # noqa: F401
