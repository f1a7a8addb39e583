"""File systems: of which type the one is that holds a file, and which of them show each write."""

from __future__ import annotations

from pathlib import Path

TOLD = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs", "zfs", "overlay", "tmpfs"}
TOLD |= {"squashfs", "erofs", "iso9660"}
"""File systems that show every write in the times of the file, or take none."""

MOUNTS = Path("/proc/self/mountinfo")


def file_system(path: Path) -> str | None:
    """The type of the file system that holds a file; None where the system does not say."""
    try:
        lines = MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return None
    real, found = path.resolve(), [(0, "")]
    for line in lines:  # a later mount covers an earlier one at the same place
        place, _, rest = line.partition(" - ")
        mount = place.split(" ")[4].encode().decode("unicode_escape")
        if real.is_relative_to(mount):
            found.append((len(mount), rest.split(" ")[0]))
    return max(reversed(found), key=lambda each: each[0])[1] or None
