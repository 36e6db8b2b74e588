"""Params from files."""

import os
import threading

import pytest

from maniple.errors import UsageError
from maniple.sweep.sources import from_csv, from_file, from_jsonl, from_lines, from_yaml


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def same(found, expected):
    """Equal in type too: 1, 1.0 and True are three values here."""
    return repr(list(found)) == repr(expected)


def test_the_first_row_of_csv_names_the_values_and_they_are_typed(write):
    path = write("p.csv", "x,name,flag\n1,a,true\n0.5,007,no\n")
    expected = [{"x": 1, "name": "a", "flag": True}, {"x": 0.5, "name": "007", "flag": "no"}]
    assert same(from_csv(path), expected)


def test_csv_can_be_kept_as_text(write):
    assert list(from_csv(write("p.csv", "x\n1\n0.50\n"), text=True)) == [{"x": "1"}, {"x": "0.50"}]


def test_quoted_csv_values_hold_separators_and_lines(write):
    path = write("p.csv", 'x, y\r\n"a,b", "c\nd"\r\n\r\n"say ""hi""",\r\n')
    assert list(from_csv(path)) == [{"x": "a,b", "y": "c\nd"}, {"x": 'say "hi"', "y": ""}]


def test_a_byte_order_mark_is_dropped_in_every_format(write):
    mark = b"\xef\xbb\xbf"
    assert list(from_file(write("p.csv", mark + b"x\n1\n"))) == [{"x": 1}]
    assert list(from_file(write("p.jsonl", mark + b"1\n"))) == [1]
    assert list(from_file(write("p.yaml", mark + b"x: 1\n"))) == [{"x": 1}]
    assert list(from_file(write("p.txt", mark + b"a\n"))) == ["a"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", ": the file is empty"),
        ("x,y\n1,2\n3\n", ":3: the row has 1 values, the header 2 names"),
        ('x,y\n"a\nb",1\n3,4,5\n', ":4: the row has 3 values, the header 2 names"),
        ("x,y,x\n", ":1: two columns are named 'x'"),
        (",x\n", ":1: column 1 has no name"),
        ("1,2\n3,4\n", ":1: no header: '1' is a value"),
        (b"x\n1\n\xe9\n", ":3: not UTF-8: byte 0xe9"),
        ('x\n"open\n', ":2: not CSV: unexpected end of data"),
        ('x\n"a"b\n', ":2: not CSV: "),
        ("x\ry\r", ":1: not CSV: new-line character seen in unquoted field; "),
    ],
)
def test_damaged_csv_is_named_by_file_and_line(write, content, says):
    path = write("p.csv", content)
    with pytest.raises(UsageError) as caught:
        list(from_csv(path))
    assert str(caught.value).startswith(f"{path}{says}")


def test_each_line_of_json_lines_is_a_param(write):
    path = write(
        "p.jsonl", '{"x": 1, "y": [1, null]}\n\n  \n"a"\r\n1.0\n12345678901234567890123\n"\\udcff"'
    )
    expected = [{"x": 1, "y": [1, None]}, "a", 1.0, 12345678901234567890123, "\udcff"]
    assert same(from_jsonl(path), expected)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('1\n{"x": }\n', ":2: not JSON: Expecting value at column 7; write one JSON value a line"),
        ("{\n", ":1: not JSON: "),
        ("\n1 2\n", ":2: not JSON: Extra data at column 3"),
        ("NaN\n", ":1: not JSON: NaN is not a finite number"),
        ("1\n-1e999\n", ":2: not JSON: -1e999 is not a finite number"),
        (b'"\xff"\n', ":1: not UTF-8: byte 0xff"),
        ("[" * 100_000, ":1: nested too deep"),
    ],
)
def test_a_damaged_line_of_json_is_named_by_file_and_line(write, content, says):
    path = write("p.jsonl", content)
    with pytest.raises(UsageError) as caught:
        list(from_jsonl(path))
    assert str(caught.value).startswith(f"{path}{says}")
    assert "\n" not in str(caught.value)


def test_lines_are_text_without_their_ends_and_empty_ones_are_skipped():
    stream = [b"a b\n", b"\n", b"\r\n", b" 1\r\n", b"\xff.txt\n", b"x\r\r\n", b"last"]
    assert list(from_lines(stream)) == ["a b", " 1", "\udcff.txt", "x\r", "last"]


def test_a_line_is_given_before_the_next_one_is_written():
    read, write = os.pipe()
    with open(read, "rb") as stream, open(write, "wb", buffering=0) as end:
        lines = from_lines(stream)
        for word in (b"one", b"two"):
            end.write(word + b"\n")
            assert next(lines) == word.decode()


def test_a_named_pipe_keeps_its_writer(tmp_path):
    path = tmp_path / "pipe.csv"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=("x\n1\n",))
    writer.start()
    assert list(from_file(path)) == [{"x": 1}]
    writer.join()


def test_a_yaml_list_is_a_list_of_params(write):
    path = write(
        "p.yaml", "- {x: 1, y: [a, b]}\n- 1e-3\n- text\n- '7'\n- 007\n- no\n- 2024-01-01\n-\n"
    )
    expected = [{"x": 1, "y": ["a", "b"]}, 0.001, "text", "7", "007", "no", "2024-01-01", None]
    assert same(from_yaml(path), expected)


def test_a_yaml_mapping_is_a_grid_of_axes(write):
    path = write("p.yml", "x: 1..2\ny: [a, true]\nz: 5\nw: 'log:0.1..1:2'\n")
    found = list(from_yaml(path))
    assert len(found) == 8
    assert found[0] == {"x": 1, "y": "a", "z": 5, "w": 0.1}
    assert found[-1] == {"x": 2, "y": True, "z": 5, "w": 1.0}


def test_yaml_axes_can_be_zipped_drawn_and_kept_as_text(write):
    path = write("p.yaml", "x: [1, 2]\ny: 8,9\n")
    assert list(from_yaml(path, zipped=[["x", "y"]])) == [{"x": 1, "y": 8}, {"x": 2, "y": 9}]
    assert next(from_yaml(path, text=True)) == {"x": "1", "y": "8"}
    drawn = write("q.yaml", "x: [1, 2]\nr: uniform:0..1\n")
    assert len(list(from_file(drawn, samples=3, seed=1))) == 6


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", ": the file is empty; write a list of params, or a mapping of axes"),
        ("text", ":1: this is one value"),
        ("x: 1\ny: 1..a\n", ":2: axis 'y=1..a': '1..a' is no range"),
        ("x: 1\n\nx: 2\n", ":3: axis 'x' is given twice"),
        ("x: 1\n2: 3\n", ":2: an axis's name is text, not 2"),
        ("a-b: 1\n", ":1: axis 'a-b=1': the name 'a-b' is not an identifier"),
        ("x: {a: 1}\n", ":1: axis 'x' is a mapping"),
        ("x: 1\ny: []\n", ":2: axis 'y' has no values"),
        ("x: uniform:0..1\n", ": axis 'x=uniform:0..1': random values need the number of samples"),
        ("x: [1,\n", ":2: not YAML: "),
        ("- a\n- !!python/object:os.system 1\n", ":2: not YAML: could not determine a constructor"),
        ("- !!int a\n", ": not YAML: "),
        ("a: 1\nb: \x07\n", ":2: not YAML: "),
        (b"a: 1\nb: \xff\n", ":2: not UTF-8: byte 0xff"),
    ],
)
def test_damaged_yaml_is_named_by_file_and_line(write, content, says):
    path = write("p.yaml", content)
    with pytest.raises(UsageError) as caught:
        from_yaml(path)
    assert str(caught.value).startswith(f"{path}{says}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("p.csv", "x\n1\n", [{"x": 1}]),
        ("p.TSV", "x\ty\n1\ta,b\n", [{"x": 1, "y": "a,b"}]),
        ("p.jsonl", "[1]\n", [[1]]),
        ("p.ndjson", "[1]\n", [[1]]),
        ("p.yaml", "[1]\n", [1]),
        ("p.yml", "[1]\n", [1]),
        ("p.txt", "[1]\n", ["[1]"]),
        ("params", "1\n", ["1"]),
    ],
)
def test_the_ending_of_a_file_chooses_its_format(write, name, content, expected):
    assert same(from_file(write(name, content)), expected)


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl", "p.yaml", "p.txt"])
def test_a_file_that_cannot_be_read_is_refused_at_the_call(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(UsageError, match="no such file; check its path") as caught:
        from_file(path)
    assert str(path) in str(caught.value)
    path.mkdir()
    with pytest.raises(UsageError, match="this is a folder; name a file in it"):
        from_file(path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be read: Not a directory"):
        from_file(tmp_path / "file" / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_somebody_else_is_refused_at_the_call(write):
    path = write("p.csv", "x\n1\n")
    path.chmod(0)
    with pytest.raises(UsageError, match="not permitted to read it"):
        from_file(path)


@pytest.mark.parametrize(("name", "content"), [("p.csv", "x\n1\n"), ("p.yaml", "- 1\n")])
def test_samples_of_a_file_without_axes_are_refused(write, name, content):
    with pytest.raises(UsageError, match="samples"):
        from_file(write(name, content), samples=3)
