"""Output for people and programs: renderers, messages, tables, images.

The package needs the types, errors and events of dw and nothing else of it.
"""
