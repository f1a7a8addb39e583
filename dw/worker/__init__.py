"""The worker process and its supervision. Nothing here imports torch but `serve`, which runs in the
worker.
"""
