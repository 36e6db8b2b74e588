"""The settings of wasmtime that machine code depends on, in letters for a file's name."""

from __future__ import annotations

from typing import Final

SETTINGS: Final = "speed.no64.nothreads.nogc.nocow.memories1"
