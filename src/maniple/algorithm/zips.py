"""What reading a zip that somebody else made may raise, beside errors of the disk."""

from __future__ import annotations

import zipfile
import zlib
from typing import Final

try:
    from lzma import LZMAError
except ImportError:  # a Python without it refuses such entries by itself
    LZMAError = RuntimeError  # type: ignore[assignment,misc]

DAMAGED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    LZMAError,
    NotImplementedError,
    EOFError,
    RuntimeError,
    ValueError,
)
