"""The sandbox for modules with a JavaScript loader: a loader finds what a browser's worker has."""

import base64
import gzip
import json

import pytest

from javascript_calls import EMPTY, calling
from maniple.algorithm.call import Limits


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    with calling(tmp_path_factory.mktemp("javascript")) as caller:
        yield caller


# question and answer


def test_a_loader_gets_one_message_and_answers_once(call):
    answer = call("onmessage = (event) => postMessage({ body: event.data.params });", [1, "ä"])
    assert (answer.ok, answer.value, answer.stdout, answer.stderr) == (
        True,
        b'[1,"\xc3\xa4"]',
        b"",
        b"",
    )
    assert 0 < answer.start <= answer.end


@pytest.mark.parametrize(
    "loader",
    [
        "onmessage = handle; function handle(e) { postMessage({ body: e.data.params }); }",
        "self.onmessage = function (e) { self.postMessage({ body: e.data.params }); };",
        "function onmessage(e) { postMessage({ body: e.data.params }); }",
        "'use strict'; var onmessage = (e) => { postMessage({ body: e.data.params }); };",
        "addEventListener('message', (e) => postMessage({ body: e.data.params }));",
        "self.addEventListener('message', { handleEvent(e) { postMessage({ body: e.data.params }); } });",
        "setTimeout(() => { onmessage = (e) => postMessage({ body: e.data.params }); }, 5);",
        "setTimeout(() => addEventListener('message', (e) => postMessage({ body: e.data.params })), 5);",
        "onmessage = (e) => { setTimeout(() => postMessage({ body: e.data.params }), 5); };",
        "onmessage = async (e) => { await null; postMessage({ body: e.data.params }, []); close(); };",
        "try { require('worker_threads'); } catch { onmessage = (e) => postMessage({ body: e.data.params }); }",
    ],
)
def test_a_loader_may_listen_in_any_of_the_ways_there_are(call, loader):
    assert call.value(loader, [3]) == [3]


def test_the_message_holds_all_of_the_call(call):
    seen = call.says(
        "{ keys: Object.keys(data), params: data.params, arguments: data.arguments,"
        " wasm: data.wasm, bytes: [...data.buffWasm], files: data.preload_files,"
        " link: data.data_link, results: data.result_files }",
        [1, {"a": None}],
        arguments=["-n", "two words"],
        files={"/in/a": b"\xff\0"},
        results=["/out/b"],
    )
    assert seen == {
        "keys": [
            "params",
            "arguments",
            "buffWasm",
            "wasm",
            "data_link",
            "preload_files",
            "result_files",
        ],
        "params": [1, {"a": None}],
        "arguments": ["-n", "two words"],
        "wasm": base64.b64encode(EMPTY).decode(),
        "bytes": list(EMPTY),
        "files": {"/in/a": "/wA="},
        "link": None,
        "results": ["/out/b"],
    }


def test_result_files_are_a_list_and_an_object_by_path_at_once(call):
    seen = call.says(
        "[[...data.result_files], Object.keys(data.result_files), Array.isArray(data.result_files),"
        " data.result_files.map((path) => path.length)]",
        results=["/out/b", "/c"],
    )
    assert seen == [["/out/b", "/c"], ["/out/b", "/c"], True, [6, 2]]


def test_top_level_names_of_a_loader_are_globals_and_it_is_sloppy(call):
    loader = """
        var first = 1; function second() { return this === self; } third = 3; let fourth = 4;
        onmessage = () => postMessage({ body: [self.first, self.second(), second(), self.third, fourth,
          "fourth" in self] });
    """
    assert call.value(loader) == [1, True, True, 3, 4, False]


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("undefined", None),
        ("null", None),
        ("'text'", "text"),
        ("new Float64Array([1, 2.5])", [1, 2.5]),
        ("{ deep: new Uint8Array([1]) }", {"deep": [1]}),
        ("[NaN, -0, 1e300]", [None, 0, 1e300]),
        ("'H4sI is only text'", "H4sI is only text"),
        ("'H4sIAAAA'", "H4sIAAAA"),
        ("{ data: 1, '/a': 'eA==' }", {"data": 1, "/a": "eA=="}),
    ],
)
def test_a_value_comes_back_as_json(call, body, value):
    assert call.value(f"onmessage = () => postMessage({{ body: {body} }});") == value


def test_a_body_of_gzipped_json_holds_the_value_and_the_result_files(call):
    text = b'{"data": [1.0, 2], "/a": "eA==", "/never/asked": "eA==", "/none": null}'
    body = base64.b64encode(gzip.compress(text)).decode()
    loader = f"onmessage = () => postMessage({{ body: '{body}', stdout: null, stderr: null }});"
    answer = call(loader, results=["/a", "/b", "/none"])
    assert (answer.ok, answer.value) == (True, b"[1.0, 2]")
    assert (answer.files, answer.missing) == ({"/a": b"x"}, ["/b", "/none"])


def test_messages_without_a_body_are_no_answers(call):
    loader = "onmessage = () => { postMessage('ready'); postMessage({ n: 1 }); postMessage({ body: 2 }); };"
    assert call.value(loader) == 2


def test_an_exit_code_makes_a_failure(call):
    answer = call("onmessage = () => postMessage({ body: null, stderr: 'sorry\\n', exitCode: 3 });")
    assert (answer.ok, answer.cause, answer.exit_code, answer.stderr) == (
        False,
        "exit 3",
        3,
        b"sorry\n",
    )


# what is printed


def test_what_is_printed_comes_back_in_its_order(call):
    loader = """
        console.log("start");
        onmessage = () => {
          console.info("a %d", 1, { b: [2] });
          console.warn("w"); console.error("e");
          postMessage({ body: null });
          console.log("after the answer, in its turn");
        };
    """
    answer = call(loader)
    assert answer.stdout == b"start\na 1 { b: [ 2 ] }\nafter the answer, in its turn\n"
    assert answer.stderr == b"w\ne\n"


def test_what_the_loader_says_was_printed_counts_first(call):
    loader = """
        onmessage = () => {
          console.log("for nobody"); console.error("kept");
          postMessage({ body: null, stdout: btoa("said\\n"), stderr: null });
        };
    """
    answer = call(loader)
    assert (answer.stdout, answer.stderr) == (b"said\n", b"kept\n")


# the world of a loader


def test_a_loader_sees_a_worker_of_a_browser_and_no_other_world(call):
    names = [
        "window",
        "document",
        "process",
        "Deno",
        "Buffer",
        "global",
        "require",
        "module",
        "exports",
        "setImmediate",
        "localStorage",
        "caches",
        "alert",
        "prompt",
        "WebSocket",
    ]
    assert call.says(json.dumps(names) + ".filter((name) => name in self)") == []
    present = [
        "self",
        "postMessage",
        "importScripts",
        "close",
        "location",
        "navigator",
        "performance",
        "crypto",
        "fetch",
        "XMLHttpRequest",
        "Blob",
        "File",
        "FileReader",
        "URL",
        "TextDecoder",
        "TextEncoder",
        "WebAssembly",
        "setTimeout",
        "setInterval",
        "queueMicrotask",
        "structuredClone",
        "atob",
        "btoa",
        "Request",
        "Response",
        "Headers",
        "ReadableStream",
        "CompressionStream",
        "DecompressionStream",
        "MessageChannel",
        "AbortController",
        "WorkerGlobalScope",
        "DedicatedWorkerGlobalScope",
        "SharedArrayBuffer",
        "Atomics",
        "Intl",
    ]
    assert call.says(json.dumps(present) + ".filter((name) => !(name in self))") == []
    assert call.says(
        "[self instanceof WorkerGlobalScope, typeof importScripts, location.href.split('/').length,"
        " new URL('x.wasm', self.location.href).pathname, typeof performance.now(),"
        " crypto.getRandomValues(new Uint8Array(4)).length, onmessage.length]"
    ) == [True, "function", 4, "/x.wasm", "number", 4, 1]


def test_scripts_cannot_be_imported_and_the_error_says_so(call):
    answer = call("importScripts('other.js');")
    assert (answer.ok, answer.cause) == (False, "exception")
    assert "importScripts" in answer.error
    assert "one file" in answer.error


# failures


@pytest.mark.parametrize(
    ("loader", "cause", "error"),
    [
        ("onmessage = ( => 1;", "exception", "SyntaxError: Unexpected token '=>'"),
        ("throw new TypeError('early')", "exception", "TypeError: early"),
        ("onmessage = () => { null.x; }", "exception", "TypeError: Cannot read properties of null"),
        ("onmessage = async () => { throw Error('late'); }", "exception", "Error: late"),
        ("onmessage = () => { throw 'a\\ntext'; }", "exception", "a text"),
        ("onmessage = () => setTimeout(() => { throw 1; })", "exception", "1"),
        ("onmessage = () => postMessage({ body: 10n })", "exception", "cannot be written as JSON"),
        ("onmessage = () => postMessage({ body: self })", "exception", "cannot be written as JSON"),
        (
            "onmessage = () => {}",
            "no answer",
            "it must call postMessage({body, stdout, stderr}) once",
        ),
        ("var nothing;", "no answer", "it must call postMessage"),
        ("", "no answer", "it must call postMessage"),
        ("onmessage = () => postMessage(1)", "no answer", "once; 1 messages had no body"),
        ("onmessage = () => close()", "no answer", "it must call postMessage"),
    ],
)
def test_a_loader_that_fails_is_a_failure_in_one_line(call, loader, cause, error):
    answer = call(loader)
    assert (answer.ok, answer.cause) == (False, cause)
    assert error in answer.error
    assert "\n" not in answer.error


def test_where_an_exception_was_thrown_is_on_standard_error(call):
    answer = call("console.error('before');\nonmessage = () => {\n  null.x;\n};")
    assert answer.stderr.startswith(
        b"before\nTypeError: Cannot read properties of null (reading 'x')\n"
    )
    assert b"algorithm.js:3:8" in answer.stderr


def test_a_loader_may_live_through_its_own_errors(call):
    loader = """
        onmessage = () => {
          Promise.reject(new Error("nobody minds"));
          self.onerror = () => { postMessage({ body: "caught" }); return true; };
          setTimeout(() => { throw new Error("thrown"); }, 5);
        };
    """
    assert call.value(loader) == "caught"


def test_a_package_without_a_loader_is_told(call, tmp_path):
    import msgspec

    from maniple.algorithm.call import Call, Code
    from maniple.runner import Cancel

    cancel = Cancel()
    parts = msgspec.structs.replace(call.parts(""), loader=None)
    answer = call.sandbox.run(Call(code=Code("0" * 64)), parts, cancel)
    cancel.close()
    assert (answer.ok, answer.cause) == (False, "no loader")


def test_params_that_are_no_json_do_not_break_the_sandbox(call):
    import msgspec

    from maniple.algorithm.call import Call, Code
    from maniple.runner import Cancel

    cancel = Cancel()
    parts = call.parts("onmessage = () => postMessage({ body: 1 });")
    broken = Call(code=Code("0" * 64), params=b'[1], "x": 2', limits=Limits(seconds=30))
    answer = call.sandbox.run(broken, parts, cancel)
    cancel.close()
    assert (answer.ok, answer.cause) == (False, "exception")
    assert "JSON" in answer.error
    assert msgspec.json.decode(call("onmessage = () => postMessage({ body: 1 });").value) == 1
