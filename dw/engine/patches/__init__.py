"""The modules that change a library at import time; each has an `install()`."""
