"""What an algorithm is called with, and what it answers. Plain data; nothing is run here."""

from __future__ import annotations

from typing import Final

import msgspec

NULL: Final = b"null"


class Code(msgspec.Struct, frozen=True, omit_defaults=True):
    """The parts of an algorithm, each named by the SHA-256 of its bytes in hexadecimal.

    Attributes:
        wasm: the WebAssembly module.
        loader: the JavaScript beside it, where the package holds one.
        data: a zip with the file system that a call starts with.
        name: for people, such as `kmeans@0.0.1`.
    """

    wasm: str
    loader: str | None = None
    data: str | None = None
    name: str = ""

    @property
    def digests(self) -> list[str]:
        """The digests of all parts there are."""
        return [part for part in (self.wasm, self.loader, self.data) if part is not None]


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one call may use. Code that wants more ends as a failed task.

    Attributes:
        seconds: from the start of the call to its end, or None for no limit.
        memory: bytes, of all that the sandbox holds for the call: wasm memory, JavaScript's heap
            and its buffers.
        output: bytes on standard output and standard error, each.
        disk: bytes of all files in the call's folder.
        files: how many files and folders that may be.
    """

    seconds: float | None = 3600.0
    memory: int = 1 << 30
    output: int = 16 << 20
    disk: int = 1 << 30
    files: int = 100_000


class Call(msgspec.Struct, omit_defaults=True):
    """One call of an algorithm.

    Attributes:
        code: what runs.
        params: the JSON of a list: the positional arguments of the algorithm's `main`.
        arguments: words as typed on a command line, without the program's own name.
        files: what the call finds in its file system: absolute path there to content.
        results: absolute paths of the files to bring back.
        limits: what it may use; a worker may allow less.
    """

    code: Code
    params: bytes = b"[]"
    arguments: list[str] = []
    files: dict[str, bytes] = {}
    results: list[str] = []
    limits: Limits = Limits()


class Answer(msgspec.Struct, omit_defaults=True):
    """How a call ended.

    Attributes:
        ok: it came to its end and said so (exit code 0, no trap, no exception, no limit).
        value: the JSON of what `main` returned.
        files: the result files that were found: path there to content.
        missing: the result files that were not.
        stdout, stderr: what it printed, up to the limit.
        echoed: standard output begins with the value, and `stdout` holds only what follows it:
            a form for the wire (see `lean`), never for users.
        cause: of a failure, a few words that group alike ones: `exit 3`, `time limit`,
            `memory limit`, `output limit`, `disk limit`, `trap`, `exception`, `cancelled`.
        error: of a failure, one sentence that says what happened and, for a limit, which one.
        exit_code: where it has one.
        start, end: in seconds since the epoch.
    """

    ok: bool
    value: bytes = NULL
    files: dict[str, bytes] = {}
    missing: list[str] = []
    stdout: bytes = b""
    stderr: bytes = b""
    cause: str = ""
    error: str = ""
    exit_code: int | None = None
    start: float = 0.0
    end: float = 0.0
    echoed: bool = False


def lean(answer: Answer) -> Answer:
    """Say once what is said twice: who prints the value has it on standard output as well."""
    if answer.echoed or answer.value == NULL or not answer.stdout.startswith(answer.value):
        return answer
    rest = answer.stdout[len(answer.value) :]
    return msgspec.structs.replace(answer, stdout=rest, echoed=True)


def whole(answer: Answer) -> Answer:
    """Undo `lean`."""
    if not answer.echoed:
        return answer
    printed = answer.value + answer.stdout
    return msgspec.structs.replace(answer, stdout=printed, echoed=False)
