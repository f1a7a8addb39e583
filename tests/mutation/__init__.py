"""Mutation testing: changes of one place of a module, each of which a test must notice."""
