"""A file that is read several times, and must have the same content every time.

A digest before each of these would cost as many more reads. So what the file system says of the file is
compared, and a digest is computed only if that differs.
"""

from __future__ import annotations

import os
from typing import TypeAlias

from raymaskdp.errors import UserError
from raymaskdp.files import sha256_file
from raymaskdp.places import LocalPath

Seen: TypeAlias = tuple[int, ...]
"""Device, inode, size, time of the last write and time of the last change of a file."""

_WRITTEN = 4
"""The first of these differ if the content may; the last one also after a new link or other rights."""


class SameFile(os.PathLike[str]):
    """A path that is read only while its content has a known digest.

    Args:
      path: the file.
      sha256: digest of its content.
      seen: what `look` returned before the digest was computed.

    Not noticed: a write during a pass whose time of writing was set back and whose content was restored
    before the next pass; content that changes below the file system; and, on a network file system, a change
    that another machine made and that this one's cache of attributes does not show yet.
    """

    def __init__(self, path: LocalPath, sha256: str, seen: Seen) -> None:
        self._path, self.sha256, self._seen = os.fspath(path), sha256, seen

    @classmethod
    def digested(cls, path: LocalPath, seen: Seen) -> SameFile:
        """The file with its digest. Raises `UserError` if it is not the file any more that `look` saw."""
        try:
            file = cls(path, sha256_file(path), seen)
        except FileNotFoundError as error:
            raise _changed(path) from error
        file.require_unwritten()
        return file

    def __fspath__(self) -> str:
        return self._path

    def __str__(self) -> str:
        return self._path

    @property
    def seen(self) -> Seen:
        """What the file system said of the file when it was last known to have its content."""
        return self._seen

    def require_same(self) -> None:
        """Raise `UserError` unless the file has its content; to be called before a pass, and after all."""
        seen = look(self._path)
        if seen == self._seen:
            return
        if not seen:
            raise UserError(f"The file {self._path} is gone; bring it back, and run it again.")
        if SameFile.digested(self._path, seen).sha256 != self.sha256:
            raise _changed(self._path)
        self._seen = seen

    def require_unwritten(self) -> None:
        """Raise `UserError` if the file was replaced or written since; to be called at the end of a pass."""
        if look(self._path)[:_WRITTEN] != self._seen[:_WRITTEN]:
            raise _changed(self._path)


def look(path: LocalPath) -> Seen:
    """What the file system says of a file; empty for one that is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _changed(path: LocalPath) -> UserError:
    return UserError(f"The file {path} was replaced or changed while it was worked on; run it again.")
