"""The shell: a session that knows no terminal, its commands, and what drives and shows it.

Nothing here imports torch, diffusers, transformers or numpy; pydantic and rich are imported when
they are first needed, so that the prompt is there at once.
"""
