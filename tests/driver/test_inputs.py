"""What is given to an algorithm becomes a call."""

import math

import pytest

from maniple.algorithm.call import Code, Limits
from maniple.driver.inputs import Inputs, encode_params, limits_of, order_of, path_there
from maniple.errors import ParamError, UsageError

CODE = Code("0" * 64)


def order(*params, **inputs):
    return order_of(CODE, Inputs(*params, **inputs), Limits())


def test_params_are_json_and_arrays_are_lists():
    import numpy as np

    assert encode_params([np.arange(3), {"a": np.float64(0.5)}, (1, [np.int8(2)])]) == (
        b'[[0,1,2],{"a":0.5},[1,[2]]]'
    )


@pytest.mark.parametrize("param", [object(), math.nan, [1, math.inf], {1: {2}}.keys()])
def test_a_param_that_json_cannot_hold_is_an_error(param):
    with pytest.raises(ParamError):
        encode_params([param])


def test_arguments_are_a_command_line_or_a_list():
    assert order(arguments="--x 'a b' 3").call.arguments == ["--x", "a b", "3"]
    assert order(arguments=["--x", 3]).call.arguments == ["--x", "3"]
    with pytest.raises(UsageError, match="cannot split"):
        order(arguments="'open")


def test_files_are_given_as_paths_or_bytes_and_folders_with_all_in_them(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "b.txt").write_bytes(b"B")
    (tmp_path / "in" / "a.txt").write_bytes(b"A")
    call = order(
        files={"/one": tmp_path / "in" / "a.txt", "/two": b"2", "/all//": str(tmp_path / "in")}
    ).call
    assert call.files == {"/one": b"A", "/two": b"2", "/all/a.txt": b"A", "/all/deep/b.txt": b"B"}


def test_a_file_that_is_not_here_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read .*/none for the algorithm: No such file"):
        order(files={"/in": tmp_path / "none"})


@pytest.mark.parametrize("path", ["in.txt", "", "/../etc", "/a/../b", "/a\0b", 3])
def test_paths_there_are_absolute_and_lead_nowhere_else(path):
    with pytest.raises(UsageError, match="algorithm's file system"):
        path_there(path)


def test_results_land_at_a_path_or_stay_in_the_reply():
    assert order(results={"/out": "here/out", "/log": None}).landings == {
        "/out": "here/out",
        "/log": None,
    }
    assert order(results=["/out"]).call.results == ["/out"]
    with pytest.raises(UsageError, match="results is a list"):
        order(results="/out")


def test_inputs_of_an_item_come_before_those_of_all():
    common = Inputs(arguments="-v", files={"/a": b"1", "/b": b"1"}, results=["/x"])
    item = Inputs(7, files={"/b": b"2"}, results={"/y": "y"}).over(common)
    assert (item.params, item.arguments) == ((7,), ["-v"])
    assert item.files == {"/a": b"1", "/b": b"2"}
    assert item.results == {"/x": None, "/y": "y"}


def test_limits_have_defaults_and_must_be_above_zero():
    assert limits_of() == Limits()
    assert limits_of(time_limit=2, memory=1 << 20) == Limits(seconds=2.0, memory=1 << 20)
    assert limits_of(time_limit=math.inf).seconds is None
    for wrong in ({"time_limit": 0}, {"memory": -1}, {"output": math.nan}):
        with pytest.raises(UsageError, match="must be above zero"):
            limits_of(**wrong)
