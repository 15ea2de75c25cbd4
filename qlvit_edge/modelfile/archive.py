"""The zip archive behind our model files: is it whole?

A flatbuffer says where its own parts lie, but not how long the file should be. Our files
end in an archive (`labels.txt`), so a file that was cut anywhere is found out here. Layout:
PKWARE's APPNOTE, sections 4.3.7, 4.3.12 and 4.3.16.
"""

from __future__ import annotations

import struct

from qlvit_edge.modelfile.flatbuffer import MalformedError

_CUT = "it is truncated: the archive of labels at its end is not whole"

# Signature, disk numbers and entry counts, size and offset of the directory, comment length.
_END = struct.Struct("<4s4H2IH")
# Signature, 16 bytes, stored size, full size, three lengths, 8 bytes, offset of the entry.
_DIRECTORY = struct.Struct("<4s16x2I3H8xI")
# Signature, 22 bytes, lengths of name and extra field.
_ENTRY = struct.Struct("<4s22x2H")


def check_archive(data: memoryview) -> None:
    """Check that a file ends in a whole zip archive without a comment.

    Raises:
        MalformedError: the end record is missing or contradicts what lies before it.
    """
    try:
        _check(data)
    except struct.error:
        raise MalformedError(_CUT) from None


def _check(data: memoryview) -> None:
    end = len(data) - _END.size
    if end < 0:
        raise MalformedError(_CUT)
    signature, disk, first_disk, here, count, size, start, comment = _END.unpack_from(data, end)
    whole = signature == b"PK\5\6" and disk == first_disk == comment == 0 and here == count > 0
    if not whole or start + size != end:
        raise MalformedError(_CUT)
    position = start
    for _ in range(count):
        if position >= end:
            raise MalformedError(_CUT)
        signature, stored, _, name, extra, note, offset = _DIRECTORY.unpack_from(data, position)
        if signature != b"PK\1\2" or offset >= start:
            raise MalformedError(_CUT)
        entry, own_name, own_extra = _ENTRY.unpack_from(data, offset)
        if entry != b"PK\3\4" or offset + _ENTRY.size + own_name + own_extra + stored > start:
            raise MalformedError(_CUT)
        position += _DIRECTORY.size + name + extra + note
    if position != end:
        raise MalformedError(_CUT)
