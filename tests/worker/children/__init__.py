"""Workers without an engine: an obedient one, and others named by their sin.

Each module has `serve(commands, events)`, as dw/worker/serve.py has, and runs in a real process
under the real supervisor.
"""
