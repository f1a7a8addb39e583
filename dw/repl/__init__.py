"""The shell: a session that needs no terminal, its commands, and the prompt and scripts on top.

Nothing here imports torch, diffusers, transformers or numpy; pydantic and rich are imported when
they are first needed, so that the prompt appears at once.
"""
