"""Sizes of files and disks in words."""


def size_in_words(nbytes: int) -> str:
    """As in `7.5 GB`, with units of 1000 each, as disks and downloads have them."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if nbytes >= factor:
            return f"{nbytes / factor:.1f} {unit}"
    return f"{nbytes} bytes"
