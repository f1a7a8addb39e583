"""The worker process and its supervision. Only `child/server.py`, which runs in the worker, imports
torch.
"""
