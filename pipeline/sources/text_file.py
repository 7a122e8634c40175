"""An open text file, plain or gzip, that is read from an offset and looked at before it is consumed."""

from __future__ import annotations

import zlib

from pipeline.sources.place import Opened

_CHUNK, _FAR = 1 << 20, 8 << 20  # bytes read at once; over a network


class TextFile:
    """Bytes of a file that may still be growing; never reads beyond the size it had when opened.

    Offsets of gzip files are in the unpacked bytes. `damage` says why nothing more can be unpacked, once
    that point is reached: the file may be whole later.
    """

    def __init__(self, opened: Opened, *, packed: bool) -> None:
        self.opened, self.stat = opened, opened.stat
        self.ended = False
        self.damage: str | None = None
        self.offset = 0
        self._left = self.stat.size
        self._chunk = _FAR if opened.remote else _CHUNK
        self._ahead = b""
        self._unpacker = zlib.decompressobj(31) if packed else None

    @property
    def packed(self) -> bool:
        """Whether it is gzip."""
        return self._unpacker is not None

    def close(self) -> None:
        """Close the file."""
        self.opened.close()

    def peek(self, size: int) -> bytes:
        """Return the next bytes, `size` of them or more where there are so many, without consuming them."""
        if len(self._ahead) < size:
            parts, have = [self._ahead], len(self._ahead)
            while have < size and not self.ended:
                parts.append(self._more(size - have))
                have += len(parts[-1])
            self._ahead = b"".join(parts)
        return self._ahead

    def consume(self, size: int) -> None:
        """Move on by `size` bytes that were looked at."""
        self._ahead = self._ahead[size:]
        self.offset += size

    def skip_to(self, offset: int) -> None:
        """Go to `offset`, at or after where it is; not beyond the end."""
        if self._unpacker is None and offset > self.offset + len(self._ahead):
            self.offset = min(offset, self.stat.size)
            self.opened.file.seek(self.offset)
            self._left, self._ahead = self.stat.size - self.offset, b""
            self.ended = not self._left
        while self.offset < offset and (ahead := self.peek(1)):
            self.consume(min(len(ahead), offset - self.offset))

    def _more(self, size: int) -> bytes:
        """Read some more bytes; none where the file ends for now."""
        if self._unpacker is not None:
            return self._unpack(self._unpacker, size)
        data = self._raw(size)
        self.ended = not self._left
        return data

    def _raw(self, size: int = 0) -> bytes:
        data = self.opened.file.read(min(max(size, self._chunk), self._left))
        self._left = self._left - len(data) if data else 0
        return data

    def _unpack(self, unpacker: zlib._Decompress, size: int) -> bytes:
        packed = unpacker.unconsumed_tail or (unpacker.unused_data if unpacker.eof else b"") + self._raw()
        if unpacker.eof:  # another member may follow, or padding
            packed = packed.lstrip(b"\0")
            self._unpacker = unpacker = zlib.decompressobj(31) if packed or self._left else unpacker
        try:
            found = unpacker.decompress(packed, max(size, _CHUNK)) if not unpacker.eof else b""
        except zlib.error as error:
            self.ended, self.damage = True, f"damaged gzip: {error}"
            return b""
        if not (found or packed or self._left):
            self.ended = True
            self.damage = None if unpacker.eof or not self.stat.size else "gzip that ends early"
        return found
