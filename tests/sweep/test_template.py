"""Commands with placeholders, as words and as a shell's text."""

import json
import os
import pickle
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maniple.errors import UsageError
from maniple.sweep.template import Template

TEXT = st.text(st.characters(blacklist_characters="\0"), max_size=20)


def fill(words, param, number=7, slot=2):
    template = Template(words.split(" ") if isinstance(words, str) else words)
    return template.words(param, number=number, slot=slot)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("{x}", "3"),
        ("--x={x}", "--x=3"),
        ("{x}-{y}-{x}", "3-a b-3"),
        ("{1}/{2}", "3/a b"),
        ("{#}.{%}", "7.2"),
        ("{in.deep}", "true"),
        ("{in}", '{"deep":true,"list":[1,null]}'),
        ("{in.list}", "[1,null]"),
        ("{in.deep}{x}", "true3"),
    ],
)
def test_a_placeholder_becomes_a_value_of_the_param(word, expected):
    param = {"x": 3, "y": "a b", "in": {"deep": True, "list": [1, None]}}
    assert fill([word], param) == [expected]


@pytest.mark.parametrize(
    ("param", "expected"),
    [
        ("a b", "a b"),
        (3, "3"),
        (0.1, "0.1"),
        (1e-7, "1e-07"),
        (True, "true"),
        (None, "null"),
        (10**30, str(10**30)),
        ({"x": 3}, "3"),
        ({"x": 3, "y": "a"}, "3 a"),
        ([1, "a", [2]], "1 a [2]"),
        ({}, ""),
    ],
)
def test_empty_braces_are_the_text_of_the_whole_param(param, expected):
    assert fill("{}", param) == [expected]


@pytest.mark.parametrize(
    ("path", "stem", "base", "folder", "base_stem"),
    [
        ("dir/a.tar.gz", "dir/a.tar", "a.tar.gz", "dir", "a.tar"),
        ("a.txt", "a", "a.txt", ".", "a"),
        ("/a", "/a", "a", "/", "a"),
        ("dir.d/a", "dir.d/a", "a", "dir.d", "a"),
        ("dir/.bashrc", "dir/.bashrc", ".bashrc", "dir", ".bashrc"),
        ("a/b/", "a/b/", "b", "a", "b"),
        ("/", "/", "/", "/", "/"),
        ("", "", "", ".", ""),
    ],
)
def test_a_param_that_is_a_path_can_be_taken_apart(path, stem, base, folder, base_stem):
    assert fill("{.} {/} {//} {/.}", path) == [stem, base, folder, base_stem]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | TEXT,
        lambda s: st.lists(s) | st.dictionaries(TEXT, s),
        max_leaves=5,
    )
)
@settings(deadline=None)
def test_the_param_as_json_reads_back_as_the_param(param):
    (word,) = fill("{@}", param)
    assert json.loads(word) == param


@pytest.mark.parametrize(
    ("param", "expected"),
    [
        ("a b", ["echo", "a b"]),
        (3, ["echo", "3"]),
        ({"x": 1, "y": "a b"}, ["echo", "1", "a b"]),
        ([1, "a b", {"k": 1}], ["echo", "1", "a b", '{"k":1}']),
        ([], ["echo"]),
    ],
)
def test_without_placeholders_the_param_is_appended_as_words(param, expected):
    template = Template(["echo"])
    assert not template.has_placeholders
    assert template.words(param, number=1, slot=1) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("{{x}}", "{x}"),
        ("{{}}", "{}"),
        ("{{#}}", "{#}"),
        ("{{{x}}}", "{3}"),
        ("${x}", "${x}"),
        ("$${x}", "$${x}"),
        ("${{x}}", "${{x}}"),
        ("${a:-{x}}", "${a:-3}"),
        ("{print $1}", "{print $1}"),
        ('{"a":1}', '{"a":1}'),
        ('{"a":{x}}', '{"a":3}'),
        ("{a,b}", "{a,b}"),
        ("{1..3}", "{1..3}"),
        ("{0}", "{0}"),
        ("{ x }", "{ x }"),
        ("{{.Names}}", "{{.Names}}"),
        ("{x", "{x"),
        ("}{", "}{"),
    ],
)
def test_other_braces_stay_as_they_are(word, expected):
    assert fill(["{x}", word], {"x": 3}) == ["3", expected]


def test_literal_braces_are_no_placeholders():
    template = Template(["awk", "{print $1}", "{{x}}"])
    assert not template.has_placeholders
    assert template.words("f", number=1, slot=1) == ["awk", "{print $1}", "{x}", "f"]


def test_a_template_tells_its_fields():
    template = Template(["{x}", "{1}{y.z}", "{{not}}", "${HOME}", "{#}"])
    assert template.fields == {"x", "y.z"}
    assert template.has_placeholders
    assert Template(["echo", "{#}"]).has_placeholders


def test_a_column_may_have_a_dot_in_its_name():
    assert fill("{a.b}", {"a.b": 1, "a": {"b": 2}}) == ["1"]


@pytest.mark.parametrize(
    ("word", "param", "says"),
    [
        (
            "{z}",
            {"x": 1, "y": 2},
            "placeholder {z} in 'f={z}': no such field, the param has the fields x, y; {{z}} gives it literally",
        ),
        ("{x.z}", {"x": {"y": 1}}, "placeholder {x.z} in 'f={x.z}': no such field"),
        ("{x}", "text", "the param has no fields, {} is the whole of it; {{x}} gives"),
        ("{x}", [1], "the param has no fields"),
        (
            "{3}",
            {"x": 1, "y": 2},
            "placeholder {3} in 'f={3}': the param has 2 value(s); {{3}} gives",
        ),
    ],
)
def test_a_placeholder_that_the_param_lacks_is_named(word, param, says):
    with pytest.raises(UsageError) as caught:
        Template([f"f={word}"]).check(param)
    assert says in str(caught.value)


def test_a_param_that_fills_the_words_passes_the_check():
    Template(["{x}", "{2}", "{#}"]).check({"x": 1, "y": 2})


@pytest.mark.parametrize("words", ["{x}", "a{x}b", "{}", "echo", "{/}", "{1}"])
def test_a_nul_byte_fits_no_word(words):
    for make in (Template.words, Template.shell):
        with pytest.raises(UsageError, match="NUL"):
            make(Template([words]), {"x": "a\0b"}, number=1, slot=1)


@pytest.mark.parametrize("words", [[], ["a\0"]])
def test_a_command_that_cannot_be_is_refused(words):
    with pytest.raises(UsageError):
        Template(words)


def test_bytes_that_are_not_utf8_reach_the_command_as_they_were():
    words = fill(["printf", "%s", "{x}"], {"x": os.fsdecode(b"\xff\xfe")})
    assert (
        subprocess.run([os.fsencode(w) for w in words], capture_output=True, check=True).stdout
        == b"\xff\xfe"
    )


@given(TEXT, TEXT)
@settings(deadline=None)
def test_a_value_is_data_it_is_never_split_nor_expanded_again(x, y):
    assert fill("{x} a{y}b {x}{y} c", {"x": x, "y": y}) == [x, f"a{y}b", x + y, "c"]
    assert fill("echo", {"x": x, "y": y}) == ["echo", x, y]


def test_a_value_that_looks_like_a_placeholder_or_a_command_stays_what_it_is():
    assert fill("echo {x} {y}", {"x": "{y}{#}", "y": "; rm -rf /"}) == [
        "echo",
        "{y}{#}",
        "; rm -rf /",
    ]


def test_a_template_can_be_sent_to_another_process():
    copy = pickle.loads(pickle.dumps(Template(["echo", "{x}"])))
    assert copy.words({"x": 1}, number=1, slot=1) == ["echo", "1"]


def shell(text, param, number=7, slot=2):
    return Template([text]).shell(param, number=number, slot=slot)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["echo", "{x}", "|", "wc", "-c"], "echo 'a b' | wc -c"),
        (["echo {x} > {#}.txt"], "echo 'a b' > 7.txt"),
        (["echo"], "echo 'a b' 3"),
        (["echo ${HOME} {{x}} {y}"], "echo ${HOME} {x} 3"),
        (["echo {}"], "echo 'a b 3'"),
    ],
)
def test_the_text_for_a_shell_is_as_typed_and_its_values_are_quoted(words, expected):
    assert Template(words).shell({"x": "a b", "y": 3}, number=7, slot=2) == expected


NASTY = [
    "",
    "a b",
    "it's",
    '"; echo no; "',
    "'; echo no; '",
    "$(echo no)`echo no`${HOME}$HOME",
    "a\nb\n",
    "\\",
    "\\'\\\"",
    "*?[a]~ #{x}{}!&|<>",
    "-n",
    os.fsdecode(b"\xff\x80"),
    "é\u2028\U0001f600",
]


@pytest.mark.parametrize("value", NASTY)
@pytest.mark.parametrize(
    "text",
    [
        "printf %s {x}",
        "printf %s '{x}'",
        'printf %s "{x}"',
        'printf %s "$(printf %s. {x})" | head -c -1',
        'v={x}; printf %s "$v"  # it\'s all\n:',
        "(printf %s {x}) && : ${HOME:-'a b'} \"${HOME:-c}\"",
        'for v in {x}; do printf %s "$v"; done',
        "printf %s",
        "sh -c 'printf %s \"$1\"' sh {x}",
    ],
)
def test_a_real_shell_gives_every_value_back(text, value):
    command = os.fsencode(shell(text, {"x": value}))
    run = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
    assert (run.stdout, run.stderr) == (os.fsencode(value), b"")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("echo a # {x}", "in a comment"),
        ("echo \\{x}", "after a backslash"),
        ('echo "\\{x}"', "after a backslash"),
        ("echo ${a:-{x}}", "in ${...}"),
        ("echo $((1 + {x}))", "in arithmetic"),
        ("echo `f {x}`", "in or after backquotes"),
        ("echo $'{x}'", "in $'...'"),
        ("echo $'\\'' {x}", "after a backslash in $'...'"),
        ("cat <<E\n{x}\nE", "in or after a here-document"),
        ('echo "${a:-\'}" {x}', "after quotes in"),
        ('echo "$(case a in a) echo "{x}";; esac)"', "in a text with both case and parentheses"),
    ],
)
def test_a_value_where_no_quoting_is_safe_is_refused(text, says):
    with pytest.raises(UsageError) as caught:
        shell(text, {"x": 1})
    assert f"stands {says}" in str(caught.value)
    assert "put it in a variable before, v={x}, and use $v" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "echo ${a:-b} {x}",
        "echo $((1 << 2)) {x}",
        "cat <<< {x}",
        "cat {x} <<E\nE",
        "case a in a) echo {x};; esac",
        "echo a#b \\# {x}",
        "f() { echo; }; f {x}",
        "echo '`' {x}",
        "# a comment, it's one\necho {x}",
    ],
)
def test_what_only_looks_dangerous_is_left_alone(text):
    assert "'a b'" in shell(text, {"x": "a b"})


@pytest.mark.parametrize("text", ["echo 'a", "echo a # b", "cat <<E\nE\n", "echo \\"])
def test_params_are_appended_only_where_a_word_can_stand(text):
    with pytest.raises(UsageError, match="cannot be appended"):
        shell(text, "a")
