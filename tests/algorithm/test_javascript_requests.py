"""Without any network, a loader still fetches what it has been given and has made."""

import base64
import io
import zipfile

import pytest

from javascript_calls import calling


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    with calling(tmp_path_factory.mktemp("javascript")) as caller:
        yield caller


def zip_of(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_data_and_blob_urls_are_fetched(call):
    assert call.says("fetch('data:text/plain;base64,aGk=').then((r) => r.text())") == "hi"
    assert call.says("fetch('data:,a%20b').then((r) => r.text())") == "a b"
    assert (
        call.says(
            "fetch(URL.createObjectURL(new Blob(['a', new Uint8Array([98])]))).then((r) => r.text())"
        )
        == "ab"
    )
    assert call.says("fetch('http://localhost/x').catch((e) => [e.name, e.message])") == [
        "TypeError",
        "fetch of http://localhost/x: there is no network in the sandbox",
    ]


REQUEST = """
function get(url, type, wait, method = "GET", range = null) {
  return new Promise((done) => {
    const request = new XMLHttpRequest();
    const seen = [];
    request.onreadystatechange = () => seen.push(request.readyState);
    request.open(method, url, !wait);
    if (type) request.responseType = type;
    if (range) request.setRequestHeader("Range", range);
    const answer = () => {
      let { response } = request;
      if (response instanceof ArrayBuffer) response = [...new Uint8Array(response)];
      done([request.status, response, request.getResponseHeader("Content-Length")]);
    };
    request.onload = answer;
    request.addEventListener("error", () => done(["error", request.status]));
    try { request.send(null); } catch (error) { done([error.name]); }
    if (wait) answer();
  });
}
onmessage = async ({ data }) => postMessage({ body: await main(data) });
"""


@pytest.mark.parametrize("wait", ["true", "false"])
def test_requests_of_the_older_kind_find_data_and_blob_urls(call, wait):
    def ask(arguments):
        return call.value(f"{REQUEST} const main = () => get({arguments});")

    blob = "URL.createObjectURL(new Blob(['abcd']).slice(1))"
    assert ask(f"'data:,hello', '', {wait}") == [200, "hello", "5"]
    assert ask(f"'data:application/json,[1]', 'json', {wait}") == [200, [1], "3"]
    assert ask(f"{blob}, 'arraybuffer', {wait}") == [200, [98, 99, 100], "3"]
    assert ask(f"{blob}, 'text', {wait}, 'HEAD'") == [200, "", "3"]
    assert ask(f"{blob}, 'text', {wait}, 'GET', 'bytes=1-1'") == [206, "c", "1"]
    assert ask(f"'http://localhost/none', '', {wait}") == (
        ["NetworkError"] if wait == "true" else ["error", 0]
    )


def test_bytes_come_as_text_where_a_loader_asks_for_them_so(call):
    loader = """
        onmessage = () => {
          const request = new XMLHttpRequest();
          request.open("GET", URL.createObjectURL(new Blob([new Uint8Array([1, 200])])), false);
          request.overrideMimeType("text/plain; charset=x-user-defined");
          request.send();
          postMessage({ body: [...request.responseText].map((c) => c.charCodeAt(0) & 255) });
        };
    """
    assert call.value(loader) == [1, 200]


def test_a_module_is_compiled_as_it_streams(call):
    assert call.says(
        "WebAssembly.instantiateStreaming(fetch(URL.createObjectURL(new Blob([data.buffWasm],"
        " { type: 'application/wasm' })))).then((made) => Object.keys(made))"
    ) == ["module", "instance"]
    assert (
        call.says(
            "WebAssembly.compileStreaming(fetch('kmeans-0.0.1.wasm')).then((made) => String(made))"
        )
        == "[object WebAssembly.Module]"
    )


def test_the_starting_file_system_is_a_url_that_can_be_fetched(call):
    data = zip_of({"in/a.txt": b"hello"})
    expression = "fetch(data.data_link).then((r) => r.bytes()).then((bytes) => bytes.toBase64())"
    assert base64.b64decode(call.says(expression, data=data)) == data
    loader = f"{REQUEST} const main = async (data) => (await get(data.data_link, 'arraybuffer', true))[1];"
    assert bytes(call.value(loader, data=data)) == data
