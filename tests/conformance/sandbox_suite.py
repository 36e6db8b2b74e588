"""What every sandbox must do. One joins in a few lines:

    class TestMine(SandboxConformance):
        def make(self):
            return MySandbox()

        def program(self, name):
            return Program(wasm_bytes, loader_bytes_or_None)

`program` gives the program of each of these names. "Answers" is the value of `main` (of a WASI
module: the JSON on its standard output).

| name | what it does |
| --- | --- |
| noop | nothing; answers null |
| echo | answers its params, as they are: `[1, "a"]` |
| argv | answers the list of its arguments, without its own name |
| copy | writes what it reads from /in/data.bin to /out/result.bin (the folder /out is made by it) |
| say | prints `out` and a line end on standard output, `err` and a line end on standard error |
| exit3 | prints `sorry` and a line end on standard error, ends with exit code 3 |
| crash | prints `before` and a line end on standard error, then traps or throws |
| loop | runs for ever |
| allocate | takes and touches memory for ever |
| print, print_error | print on standard output, standard error for ever |
| sleep | sleeps for an hour in one call |
| fill | writes to a file for ever, whatever the write answers |
| many | makes files for ever, whatever that answers |
| escape | tries to read params[0], the path of a file outside, by every way it knows (absolute, with `../`, over a link it makes); answers the list of all it could read, as text |
| plant | makes /out/result.bin a symbolic link to params[0], if it can; answers null |
| environment | answers an object of its environment variables |
| remember | answers whether /left exists, then makes it |
"""

import io
import os
import threading
import time
import zipfile

import msgspec
import pytest

from maniple.algorithm.blobs import Blobs, digest_of
from maniple.algorithm.call import Answer, Call, Code, Limits
from maniple.algorithm.sandbox import Parts, Sandbox
from maniple.runner import Cancel

MIB = 1 << 20
PATIENCE = 60.0
"""Seconds after which a call that should have been ended fails its test instead of the test run."""


class Program(msgspec.Struct, frozen=True):
    """A module, and the JavaScript beside it where it needs some."""

    wasm: bytes
    loader: bytes | None = None


def zip_with(files, links=None):
    """Make a zip by hand, with any names and links in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
        for name, target in (links or {}).items():
            entry = zipfile.ZipInfo(name)
            entry.create_system = 3
            entry.external_attr = 0o120777 << 16
            archive.writestr(entry, target)
    return buffer.getvalue()


class SandboxConformance:
    """The rows that hold for every sandbox."""

    memory = 128 * MIB
    """A memory limit that programs of this sandbox can start in."""

    def make(self):
        raise NotImplementedError

    def program(self, name):
        raise NotImplementedError

    @pytest.fixture
    def sandbox(self):
        sandbox = self.make()
        yield sandbox
        sandbox.close()

    @pytest.fixture
    def call(self, sandbox, tmp_path):
        """Run a named program; `data` is a starting file system, the rest are fields of `Call`."""
        blobs = Blobs(str(tmp_path / "blobs"))
        cancels = []

        def run(name, params=(), *, data=None, cancel=None, **fields):
            program = self.program(name)
            code = Code(
                digest_of(program.wasm),
                None if program.loader is None else digest_of(program.loader),
                None if data is None else digest_of(data),
                f"{name}@1.0.0",
            )
            parts = Parts(
                wasm=blobs.path(blobs.put(program.wasm)),
                cache=str(tmp_path / "cache"),
                loader=None if program.loader is None else blobs.path(blobs.put(program.loader)),
                data=None if data is None else blobs.path(blobs.put(data)),
            )
            fields.setdefault("limits", Limits(seconds=PATIENCE))
            call = Call(code=code, params=msgspec.json.encode(list(params)), **fields)
            if cancel is None:
                cancel = Cancel()
                cancels.append(cancel)
            return sandbox.run(call, parts, cancel)

        yield run
        for cancel in cancels:
            cancel.close()

    @pytest.fixture
    def works(self, call):
        """Check that the next call is as good as the first."""

        def check():
            answer = call("echo", ["still", "here"])
            assert (answer.ok, msgspec.json.decode(answer.value)) == (True, ["still", "here"]), (
                answer
            )

        return check

    @pytest.fixture
    def outside(self, tmp_path):
        """A file that no program may see."""
        path = tmp_path / "outside" / "secret.txt"
        path.parent.mkdir()
        path.write_text("the secret")
        return path

    # what a call gives and gets

    def test_it_is_a_sandbox(self, sandbox):
        assert isinstance(sandbox, Sandbox)

    def test_a_program_that_does_nothing_answers_null(self, call):
        before = time.time()
        answer = call("noop")
        assert (answer.ok, answer.value, answer.cause, answer.error) == (True, b"null", "", "")
        assert before - 1 <= answer.start <= answer.end <= time.time() + 1

    @pytest.mark.parametrize(
        "params", [[], [1, 2.5, "ä", None, True], [{"a": [1, 2]}], ["x" * 100_000]]
    )
    def test_params_arrive_and_the_value_comes_back(self, call, params):
        answer = call("echo", params)
        assert answer.ok, answer
        assert msgspec.json.decode(answer.value) == params

    def test_arguments_are_words_of_a_command_line(self, call):
        answer = call("argv", arguments=["-n", "3", "two words", "ä"])
        assert answer.ok, answer
        assert msgspec.json.decode(answer.value) == ["-n", "3", "two words", "ä"]

    def test_files_go_in_and_result_files_come_back(self, call):
        data = bytes(range(256)) * 300
        answer = call(
            "copy",
            files={"/in/data.bin": data},
            results=["/out/result.bin", "/out/none.bin"],
        )
        assert answer.ok, answer
        assert answer.files == {"/out/result.bin": data}
        assert answer.missing == ["/out/none.bin"]

    def test_the_data_zip_is_the_starting_file_system(self, call):
        answer = call("copy", data=zip_with({"in/data.bin": b"zip"}), results=["/out/result.bin"])
        assert answer.ok, answer
        assert answer.files == {"/out/result.bin": b"zip"}

    def test_a_file_of_the_call_covers_one_of_the_data_zip(self, call):
        answer = call(
            "copy",
            data=zip_with({"in/data.bin": b"zip", "in/other": b""}),
            files={"/in/data.bin": b"call"},
            results=["/out/result.bin"],
        )
        assert answer.files == {"/out/result.bin": b"call"}

    def test_what_is_printed_comes_back(self, call):
        answer = call("say")
        assert answer.ok, answer
        assert (answer.stdout, answer.stderr) == (b"out\n", b"err\n")

    # failures of its own

    def test_an_exit_code_is_a_failure_and_says_which(self, call, works):
        answer = call("exit3")
        assert (answer.ok, answer.cause, answer.exit_code) == (False, "exit 3", 3)
        assert "3" in answer.error
        assert answer.stderr == b"sorry\n"
        works()

    def test_a_crash_is_a_failure_and_keeps_what_was_printed(self, call, works):
        answer = call("crash")
        assert not answer.ok
        assert answer.cause in {"trap", "exception"}
        assert answer.error
        assert "\n" not in answer.error
        assert answer.stderr.startswith(b"before\n")
        works()

    # limits

    def limited(self, answer, cause, *words):
        assert isinstance(answer, Answer)
        assert (answer.ok, answer.cause) == (False, cause), answer.error
        for word in (cause, *words):
            assert word in answer.error
        assert "\n" not in answer.error

    @pytest.mark.parametrize("name", ["loop", "sleep"])
    def test_the_time_limit_ends_a_call(self, call, works, name):
        self.limited(call(name, limits=Limits(seconds=0.5)), "time limit", "0.5 s")
        works()

    def test_the_memory_limit_ends_a_call(self, call, works):
        limits = Limits(seconds=PATIENCE, memory=self.memory)
        self.limited(call("allocate", limits=limits), "memory limit", f"{self.memory // MIB} MiB")
        works()

    @pytest.mark.parametrize("name", ["print", "print_error"])
    def test_the_output_limit_ends_a_call(self, call, works, name):
        limits = Limits(seconds=PATIENCE, output=MIB)
        answer = call(name, limits=limits)
        self.limited(answer, "output limit", "1 MiB")
        assert len(answer.stdout) <= MIB
        assert len(answer.stderr) <= MIB
        assert answer.stdout or answer.stderr
        works()

    def test_the_disk_limit_ends_a_call(self, call, works):
        limits = Limits(seconds=PATIENCE, disk=8 * MIB)
        self.limited(call("fill", limits=limits), "disk limit", "8 MiB")
        works()

    def test_the_limit_on_files_ends_a_call(self, call, works):
        limits = Limits(seconds=PATIENCE, files=200)
        self.limited(call("many", limits=limits), "disk limit", "200 files")
        works()

    def test_files_that_are_over_the_disk_limit_already_end_a_call(self, call, works):
        limits = Limits(seconds=PATIENCE, disk=MIB)
        answer = call("noop", files={"/in/data.bin": bytes(2 * MIB)}, limits=limits)
        self.limited(answer, "disk limit", "1 MiB")
        works()

    def test_a_data_zip_that_unpacks_beyond_the_disk_limit_ends_a_call(self, call, works):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bomb", bytes(64 * MIB))
        limits = Limits(seconds=PATIENCE, disk=MIB)
        answer = call("noop", data=buffer.getvalue(), limits=limits)
        self.limited(answer, "disk limit", "1 MiB")
        works()

    # walls

    @pytest.mark.parametrize(
        ("files", "links"),
        [
            ({"../evil": b"x"}, {}),
            ({"a/../../evil": b"x"}, {}),
            ({"/evil": b"x"}, {}),
            ({}, {"link": "/etc"}),
            ({}, {"link": "../.."}),
            ({"link/evil": b"x"}, {"link": "../.."}),
        ],
    )
    def test_a_data_zip_that_reaches_out_is_refused(self, call, works, tmp_path, files, links):
        answer = call("noop", data=zip_with(files, links))
        assert not answer.ok
        assert answer.error
        assert "\n" not in answer.error
        assert not list(tmp_path.rglob("evil"))
        works()

    @pytest.mark.parametrize("path", ["/../evil", "/a/../../evil", "evil", "/", ""])
    def test_a_file_that_reaches_out_is_refused(self, call, works, tmp_path, path):
        answer = call("noop", files={path: b"x"})
        assert not answer.ok
        assert answer.error
        assert not list(tmp_path.rglob("evil"))
        works()

    def test_a_result_that_reaches_out_does_not_come_back(self, call, works, outside):
        paths = [str(outside), f"/..{outside}", "/../" * 20 + str(outside)]
        answer = call("noop", results=paths)
        assert answer.files == {}
        works()

    def test_no_file_outside_can_be_read(self, call, works, outside):
        answer = call("escape", [str(outside)])
        assert answer.ok, answer
        assert msgspec.json.decode(answer.value) == []
        works()

    def test_a_planted_link_is_not_followed_to_a_result(self, call, works, outside):
        for target in (str(outside), "../" * 20 + str(outside)[1:]):
            answer = call("plant", [target], results=["/out/result.bin"])
            assert answer.files == {}
            assert b"the secret" not in msgspec.msgpack.encode(answer)
        works()

    def test_the_environment_is_not_seen(self, call, monkeypatch):
        monkeypatch.setenv("MANIPLE_TEST_TOKEN", "the secret")
        answer = call("environment")
        assert answer.ok, answer
        assert isinstance(msgspec.json.decode(answer.value), dict)
        assert b"MANIPLE_TEST_TOKEN" not in answer.value
        assert b"the secret" not in answer.value
        assert os.environ["PATH"].encode() not in answer.value

    def test_nothing_is_left_for_the_next_call(self, call):
        for _ in range(3):
            answer = call("remember")
            assert answer.ok, answer
            assert answer.value == b"false"

    # endings from outside

    @pytest.mark.parametrize("name", ["loop", "sleep"])
    def test_a_cancel_ends_a_call(self, call, works, name):
        cancel = Cancel()
        timer = threading.Timer(0.3, cancel.request)
        timer.start()
        try:
            answer = call(name, cancel=cancel)
        finally:
            timer.join()
            cancel.close()
        assert (answer.ok, answer.cause) == (False, "cancelled")
        works()

    def test_a_call_that_is_cancelled_already_does_not_run(self, call, works):
        cancel = Cancel()
        cancel.request()
        answer = call("loop", cancel=cancel)
        cancel.close()
        assert (answer.ok, answer.cause) == (False, "cancelled")
        works()

    @pytest.mark.parametrize("name", ["loop", "sleep"])
    def test_an_abort_from_another_thread_ends_a_call(self, sandbox, call, works, name):
        over = threading.Event()

        def abort():
            # one that comes before the call does nothing
            while not over.wait(0.3):
                sandbox.abort()

        aborter = threading.Thread(target=abort)
        aborter.start()
        try:
            answer = call(name)
        finally:
            over.set()
            aborter.join()
        assert (answer.ok, answer.cause) == (False, "cancelled")
        works()

    def test_an_abort_when_nothing_runs_does_nothing(self, sandbox, works):
        sandbox.abort()
        works()
        sandbox.abort()
        works()

    def test_a_closed_sandbox_can_be_closed_again(self, sandbox, works):
        works()
        sandbox.close()
        sandbox.close()
