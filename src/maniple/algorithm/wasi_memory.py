"""Linear memories that know their limit: a guest that wants more is ended, not told so.

wasmtime's own limiter lets `memory.grow` answer -1, and nobody learns that a limit was passed:
a guest may then end in a hundred ways, or never. Here memories are made by us through the C API
(`wasmtime_config_host_memory_creator_set`, see wasmtime/config.h), so each wish is seen. A memory
is address space that is reserved whole, with its guard pages, and made accessible as it grows:
it never moves, and the compiled code needs no checks of bounds.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from typing import Any, Final

_NO_RESERVE: Final = 0x4000
_NOTHING: Final = 0
_ANYWHERE: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
_ACCESS: Final = mmap.PROT_READ | mmap.PROT_WRITE
_FAILED: Final = ctypes.c_void_p(-1).value


class _Memory:
    def __init__(self, base: int, size: int, capacity: int, mapped: int) -> None:
        self.base = base
        self.size = size
        self.capacity = capacity
        self.mapped = mapped


class Memories:
    """Makes the linear memories of one engine, which runs one call at a time.

    Attributes:
        limit: bytes that all memories of the call may have together.

    Args:
        passed: called when a guest wants more; the memory stays as it is if it returns.
    """

    def __init__(self, passed: Callable[[], None]) -> None:
        from wasmtime import _bindings

        self.limit = 0
        self._passed = passed
        self._api: Any = _bindings
        self._memories: dict[int, _Memory] = {}
        self._next = 1
        library = ctypes.CDLL(None, use_errno=True)
        self._map = library.mmap
        self._map.restype = ctypes.c_void_p
        self._map.argtypes = [
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_long,
        ]
        self._protect = library.mprotect
        self._protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self._unmap = library.munmap
        self._unmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        finalizer = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
        # they are called as long as the engine lives
        self._get_callback = self._api.wasmtime_memory_get_callback_t(self._get)
        self._grow_callback = self._api.wasmtime_memory_grow_callback_t(self._grow)
        self._free_callback = finalizer(self._free)
        self._creator = self._api.wasmtime_memory_creator(
            None,
            self._api.wasmtime_new_memory_callback_t(self._new),
            finalizer(),
        )

    def join(self, config: Any) -> None:
        """Have the engine of this `wasmtime.Config` take its memories from here."""
        self._api.wasmtime_config_host_memory_creator_set(config.ptr(), ctypes.byref(self._creator))

    def _new(
        self, _env: Any, _type: Any, size: int, most: int, reserved: int, guard: int, result: Any
    ) -> int:
        try:
            if not self._may_have(size):
                return self._error("the memory limit is passed")
            capacity = reserved or most
            mapped = capacity + guard
            base = self._map(None, mapped, _NOTHING, _ANYWHERE, -1, 0)
            if base in {None, _FAILED}:
                return self._error("no address space is left")
            if size and self._protect(base, size, _ACCESS):
                self._unmap(base, mapped)
                self._passed()
                return self._error("the memory limit is passed")
            number = self._next
            self._next += 1
            self._memories[number] = _Memory(base, size, capacity, mapped)
            result[0].env = number
            result[0].get_memory = self._get_callback
            result[0].grow_memory = self._grow_callback
            result[0].finalizer = self._free_callback
        except Exception as error:
            return self._error(f"no memory: {error}")
        return 0

    def _get(self, number: int, size: Any, capacity: Any) -> int:
        memory = self._memories[number]
        size[0] = memory.size
        capacity[0] = memory.capacity
        return memory.base

    def _grow(self, number: int, size: int) -> int:
        try:
            memory = self._memories[number]
            if size > memory.capacity:
                return self._error("the memory is at its largest")
            if not self._may_have(size - memory.size):
                return self._error("the memory limit is passed")
            if self._protect(memory.base, size, _ACCESS):
                self._passed()
                return self._error("the memory limit is passed")
            memory.size = size
        except Exception as error:
            return self._error(f"no memory: {error}")
        return 0

    def _may_have(self, more: int) -> bool:
        held = sum(memory.size for memory in self._memories.values())
        if held + more <= self.limit:
            return True
        self._passed()
        return False

    def _free(self, number: int) -> None:
        memory = self._memories.pop(number)
        self._unmap(memory.base, memory.mapped)

    def _error(self, text: str) -> int:
        error = self._api.wasmtime_error_new(ctypes.create_string_buffer(text.encode()))
        return ctypes.cast(error, ctypes.c_void_p).value or 0
