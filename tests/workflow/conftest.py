"""Property tests draw the same examples each time, and a busy machine is no reason to fail."""

from hypothesis import settings

settings.register_profile("workflow", deadline=None, derandomize=True)
settings.load_profile("workflow")
