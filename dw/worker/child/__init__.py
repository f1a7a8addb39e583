"""What runs in the worker process."""
