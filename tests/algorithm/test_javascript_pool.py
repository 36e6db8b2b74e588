"""The processes of the sandbox for JavaScript: started ahead, confined, and never left behind."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from javascript_calls import EMPTY, MIB, calling
from maniple import proctree
from maniple.algorithm import javascript
from maniple.algorithm.call import Limits
from maniple.algorithm.javascript_command import Confinement, find_deno
from maniple.runner import Cancel

PATIENCE = 60.0
LOOP = "onmessage = () => { console.log('running'); for (;;); };"


def missing(program):
    if os.environ.get("CI"):
        pytest.fail(f"{program} is not installed")
    pytest.skip(f"{program} is not installed")


def until(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.01)
    return found


callers = []


@pytest.fixture(scope="module", params=list(Confinement))
def call(request, tmp_path_factory):
    if request.param is Confinement.BUBBLEWRAP and shutil.which("bwrap") is None:
        missing("bwrap")
    with calling(tmp_path_factory.mktemp("pool"), confinement=request.param) as caller:
        callers.append(caller)
        yield caller
        callers.remove(caller)


@pytest.fixture
def alone():
    """See to it that no other sandbox starts or ends processes while a test counts them."""
    for caller in callers:
        caller.sandbox.close()


@pytest.fixture
def held(call, monkeypatch):
    """Run a call that does not end in a thread; give the process that runs it."""
    cancel = Cancel()
    answers = []
    taken = []
    pool = call.sandbox._pool_here()
    take = pool.take

    def noting(*words):
        process = take(*words)
        taken.append((process._inner, used(process._inner)))
        return process

    def loops():
        # nothing but the loop takes so much: it has been ready since before
        return [pid for pid, before in taken if used(pid) > before + 0.2]

    monkeypatch.setattr(pool, "take", noting)
    thread = threading.Thread(target=lambda: answers.append(call(LOOP, cancel=cancel)))
    thread.start()
    (process,) = until(loops, "a running process")
    yield process, answers, thread
    cancel.request()
    thread.join()
    cancel.close()


def used(pid):
    """Tell how many seconds of a processor a process has used."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# calls one after the other


def test_calls_of_many_codes_take_turns(call):
    for turn in range(12):
        assert call.says(f"data.params[0] + {turn % 3}", [turn]) == turn + turn % 3


def test_a_code_that_is_called_again_is_prepared_and_still_runs_in_a_fresh_process(call):
    loader = """
        var count = (globalThis.count ?? 0) + 1;
        onmessage = () => { Object.prototype.left = 1; postMessage({ body: [count, performance.timeOrigin] }); };
    """
    seen = [call.value(loader) for _ in range(5)]
    assert [count for count, _ in seen] == [1] * 5
    assert len({origin for _, origin in seen}) == 5


def test_a_wait_for_a_process_is_not_the_calls_time(call, monkeypatch):
    pool = call.sandbox._pool_here()
    take = pool.take
    late = [0.0]

    def slow(*words):
        late[0] += 1000
        return take(*words)

    class Clock:
        time = staticmethod(time.time)
        monotonic = staticmethod(lambda: time.monotonic() + late[0])

    monkeypatch.setattr(javascript, "time", Clock)
    monkeypatch.setattr(pool, "take", slow)
    assert call.says("1", limits=Limits(seconds=PATIENCE)) == 1


def test_each_call_has_its_own_limits(call):
    loader = "onmessage = () => { const a = new Uint8Array(200 << 20).fill(1); postMessage({ body: a.length }); };"
    for _ in range(2):
        small = call(loader, limits=Limits(seconds=PATIENCE, memory=64 * MIB))
        assert (small.ok, small.cause) == (False, "memory limit"), small
        large = call(loader, limits=Limits(seconds=PATIENCE, memory=512 * MIB))
        assert large.ok, large


def test_a_call_may_be_allowed_more_than_the_sandbox_expected(tmp_path):
    loader = """
        onmessage = () => {
          const all = [];
          for (let i = 0; i < 150; i++) all.push(new Array(1 << 17).fill(i + 0.5));
          postMessage({ body: all.length });
        };
    """
    with calling(tmp_path, memory=64 * MIB) as caller:
        assert caller.says("1", limits=Limits(seconds=PATIENCE, memory=32 * MIB)) == 1
        answer = caller(loader, limits=Limits(seconds=PATIENCE, memory=64 * MIB))
        assert (answer.ok, answer.cause) == (False, "memory limit")
        assert caller.value(loader, limits=Limits(seconds=PATIENCE, memory=512 * MIB)) == 150


def test_a_call_may_use_nearly_all_the_memory_it_is_allowed(call):
    loader = """
        onmessage = () => {
          const heap = [];
          for (let i = 0; i < 20; i++) heap.push(new Array(1 << 17).fill(i + 0.5));
          const memory = new WebAssembly.Memory({ initial: 640, maximum: 65536 });
          new Uint8Array(memory.buffer).fill(1);
          memory.grow(640);
          new Uint8Array(memory.buffer).fill(2);
          postMessage({ body: [heap.length, memory.buffer.byteLength >> 20] });
        };
    """
    limits = Limits(seconds=PATIENCE, memory=128 * MIB)
    assert call.value(loader, limits=limits) == [20, 80]


def test_large_questions_and_answers_pass(call):
    text = "ä" * (4 << 20)
    content = os.urandom(8 * MIB)
    loader = """
        onmessage = async ({ data }) => {
          const whole = { data: data.params[0], "/out": data.preload_files["/in"] };
          const pipe = new CompressionStream("gzip");
          const packed = new Response(new Blob([JSON.stringify(whole)]).stream().pipeThrough(pipe));
          postMessage({ body: (await packed.bytes()).toBase64() });
        };
    """
    answer = call(loader, [text], files={"/in": content}, results=["/out"])
    assert answer.ok, (answer.cause, answer.error)
    assert json.loads(answer.value) == text
    assert answer.files == {"/out": content}


def test_a_large_module_passes(call):
    # one custom section of 24 MiB
    size = 24 * MIB
    body = b"\x01x" + bytes(size)
    number = len(body)
    leb = bytes(
        [number & 127 | 128, number >> 7 & 127 | 128, number >> 14 & 127 | 128, number >> 21]
    )
    wasm = EMPTY + b"\0" + leb + body
    expression = "WebAssembly.compile(data.buffWasm).then((m) => WebAssembly.Module.customSections(m, 'x')[0].byteLength)"
    for _ in range(2):
        assert call.says(expression, wasm=wasm) == size


# walls, seen from outside


@pytest.mark.parametrize("call", [Confinement.BUBBLEWRAP], indirect=True)
def test_a_running_call_sees_nothing_of_this_machine(held):
    pid, _, _ = held
    for kind in ("net", "pid", "mnt", "user", "ipc", "uts"):
        assert os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
    with open(f"/proc/{pid}/environ", "rb") as file:
        names = {entry.partition(b"=")[0] for entry in file.read().split(b"\0") if entry}
    assert names <= {
        b"DENO_DIR",
        b"DENO_NO_UPDATE_CHECK",
        b"DENO_NO_PROMPT",
        b"NO_COLOR",
        b"TZ",
        b"LANG",
        b"PWD",
    }
    with open(f"/proc/{pid}/mounts", encoding="ascii") as file:
        mounts = [line.split()[1:4] for line in file]
    assert all(re.search(r"(^|,)ro(,|$)", options) for _, _, options in mounts)
    assert not [place for place, kind, _ in mounts if kind in {"proc", "sysfs", "devtmpfs"}]
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    assert status["CapEff"].strip("0") == status["CapBnd"].strip("0") == ""
    assert status["NoNewPrivs"] == "1"


def test_the_kernel_refuses_memory_far_beyond_the_limit(held):
    pid, _, _ = held
    soft, _ = resource.prlimit(pid, resource.RLIMIT_DATA)
    assert 0 < soft < 4 << 30


def test_no_module_of_node_can_be_imported(call, tmp_path):
    """deno knows some names: none of them may lead anywhere."""
    script = tmp_path / "names.js"
    script.write_text(
        'import { builtinModules } from "node:module"; console.log(JSON.stringify(builtinModules));'
    )
    listed = subprocess.run(
        [find_deno(), "run", "--quiet", "--no-prompt", "--no-config", str(script)],
        capture_output=True,
        env={"DENO_DIR": str(tmp_path / "deno"), "NO_COLOR": "1"},
        check=True,
    )
    names = json.loads(listed.stdout)
    assert len(names) > 40
    reached = call.says(
        "Promise.all(data.params[0].flatMap((name) => [name, `node:${name.replace('node:', '')}`])"
        ".map((name) => import(name).then(() => name, () => null)))"
        ".then((all) => all.filter((name) => name))",
        [names],
    )
    assert reached == []


# memory, as the kernel counts it

_PEAK = """
import resource, sys
from pathlib import Path
from javascript_calls import MIB, Limits, calling
from maniple.algorithm.javascript_command import Confinement

with calling(Path(sys.argv[1]), confinement=Confinement(sys.argv[2])) as call:
    call.says("1")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    answer = call(Path(sys.argv[3]).read_text(), limits=Limits(seconds=60, memory=128 * MIB))
assert answer.cause == "memory limit", answer
print(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.parametrize("name", ["heap", "buffers_and_carry_on", "wasm", "strings", "blobs"])
def test_the_memory_limit_holds_by_the_kernels_own_count(call, tmp_path, name):
    program = os.path.join(os.path.dirname(__file__), "hostile_js", f"allocate_{name}.js")
    paths = [path for path in sys.path if path]
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(tmp_path), call.sandbox.confinement.value, program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    _, peak = map(int, done.stdout.split())
    # deno's own, and what is allocated between two looks; the kernel's wall is behind that
    assert peak < (128 + 64 + 96 + 64) * 1024


# endings


def test_nothing_is_left_when_the_sandbox_is_closed(alone, tmp_path):
    before = set(proctree.descendants(os.getpid()))
    with calling(tmp_path, ready=3) as caller:
        assert caller.says("1") == 1
        assert set(proctree.descendants(os.getpid())) - before
    assert set(proctree.descendants(os.getpid())) <= before


def test_descriptors_do_not_gather(alone, tmp_path):
    with calling(tmp_path) as caller:
        for _ in range(3):
            caller.says("1")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(40):
            caller.says("1")
        assert len(os.listdir("/proc/self/fd")) < before + 60
    with calling(tmp_path) as caller:
        caller.says("1")
    assert len(os.listdir("/proc/self/fd")) < before


def test_a_process_that_is_killed_while_it_waits_is_replaced(alone, tmp_path):
    before = set(proctree.descendants(os.getpid()))
    with calling(tmp_path) as caller:
        caller.says("1")
        waiting = set(proctree.descendants(os.getpid())) - before
        for pid in waiting:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not waiting & set(proctree.descendants(os.getpid())), "their end")
        assert caller.says("2") == 2


def test_a_call_whose_process_is_killed_by_others_says_so(call, held):
    pid, answers, thread = held
    os.kill(pid, signal.SIGKILL)
    thread.join(PATIENCE)
    (answer,) = answers
    assert (answer.ok, answer.cause) == (False, "SIGKILL")
    assert call.says("1") == 1


def test_a_sandbox_can_be_used_again_after_it_was_closed(tmp_path):
    with calling(tmp_path) as caller:
        assert caller.says("1") == 1
        caller.sandbox.close()
        assert caller.says("2") == 2


def test_a_forked_child_has_processes_of_its_own(tmp_path):
    with calling(tmp_path) as caller:
        assert caller.says("1") == 1
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if caller.says("2") == 2 else 2
                caller.sandbox.close()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert caller.says("3") == 3


_WORKER = """
import sys
from pathlib import Path
from javascript_calls import calling
from maniple.algorithm.javascript_command import Confinement

with calling(Path(sys.argv[1]), confinement=Confinement(sys.argv[2])) as call:
    call.says("1")
    print("ready", flush=True)
    call("onmessage = () => { for (;;); };")
"""


def test_nothing_is_left_when_the_worker_is_killed(call, tmp_path):
    if call.sandbox.confinement is Confinement.DENO and shutil.which("setpriv") is None:
        missing("setpriv")
    paths = [path for path in sys.path if path]
    with subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(tmp_path), call.sandbox.confinement.value],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    ) as worker:
        try:
            assert worker.stdout.readline() == b"ready\n"
            # two that wait, and one that runs
            least = 5 if call.sandbox.confinement is Confinement.BUBBLEWRAP else 3
            below = until(
                lambda: len(found := proctree.descendants(worker.pid)) >= least and found,
                "its processes",
            )
            handles = []
            for pid in below:
                with suppress(ProcessLookupError):  # that of the first call was at its end
                    handles.append(os.pidfd_open(pid))
            assert handles
        finally:
            worker.kill()
    try:
        for handle in handles:
            until(lambda handle=handle: gone(handle), "their end")
    finally:
        for handle in handles:
            os.close(handle)


def gone(handle):
    try:
        signal.pidfd_send_signal(handle, 0)
    except ProcessLookupError:
        return True
    # a zombie whose new parent has not looked yet has ended, too
    with open(f"/proc/self/fdinfo/{handle}", encoding="ascii") as file:
        pid = int(re.search(r"^Pid:\t(-?\d+)", file.read(), re.MULTILINE)[1])
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] in {"Z", "X"}
    except OSError:
        return True
