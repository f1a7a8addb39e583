import os

# On a few cores the threads of two tests fight, and a tiny model is faster on one in any case.
os.environ.setdefault("OMP_NUM_THREADS", "1")
