"""The variables of the drop-in package, from the environment, `.env` and `.minionize.yml`."""

import json
import os

import pytest

from sweeps import make_sweep, run, status


def refusal(ran):
    """The one line of a run that was refused."""
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1, ran.stderr
    return ran.stderr


def test_an_unknown_engine_is_named_with_those_there_are(tmp_path):
    line = refusal(run("minionize", "echo", cwd=tmp_path, MINION_ENGINE="rabit"))
    assert "rabit" in line
    assert "sqlite" in line


def test_the_directory_of_the_sweep_is_settable(tmp_path):
    make_sweep(tmp_path / "mine", ["a"])
    ran = run("minionize", "echo", cwd=tmp_path, EXECO_PERSISTENCE_DIR="mine")
    assert (ran.returncode, ran.stdout) == (0, "a\n")


def test_a_missing_sweep_is_one_line_and_is_not_made(tmp_path):
    line = refusal(run("minionize", "echo", cwd=tmp_path))
    assert "sweeps" in line
    assert os.listdir(tmp_path) == []


def test_a_file_is_read_instead_of_standard_input(tmp_path):
    (tmp_path / "params").write_text("a\nb\n")
    options = {"MINION_ENGINE": "file", "FILE_PATH": "params"}
    assert run("minionize", "echo", cwd=tmp_path, stdin="x\n", **options).stdout == "a\nb\n"


def test_a_missing_file_is_one_line(tmp_path):
    options = {"MINION_ENGINE": "file", "FILE_PATH": "params"}
    assert "params" in refusal(run("minionize", "echo", cwd=tmp_path, **options))


def test_the_json_decoder_decodes_each_line(tmp_path):
    options = {"MINION_ENGINE": "file", "FILE_DECODER": "json", "MINION_REPORTER": "json"}
    lines = '{"b": 1, "a": [true, null]}\n3\n'
    ran = run("minionize", "echo", cwd=tmp_path, stdin=lines, DRY="1", **options)
    assert ran.stdout == "echo {'b': 1, 'a': [True, None]}\necho 3\n"


def test_a_line_that_is_no_json_is_a_failed_param_and_the_rest_goes_on(tmp_path):
    options = {"MINION_ENGINE": "file", "FILE_DECODER": "json", "MINION_REPORTER": "json"}
    ran = run("minionize", "echo", cwd=tmp_path, stdin="1\n{oops\n2\n", **options)
    assert (ran.returncode, ran.stdout) == (0, "1\n2\n")
    assert ran.stderr.count("\n") == 1
    assert "{oops" in ran.stderr
    (file,) = (tmp_path / "minion-report").iterdir()
    errors = [json.loads(line)["error"] for line in file.read_text().splitlines()]
    assert [error is None for error in errors] == [True, False, True]


def test_the_identity_decoder_is_the_default_and_others_are_refused(tmp_path):
    ran = run("minionize", "echo", cwd=tmp_path, MINION_ENGINE="file", FILE_DECODER="yaml")
    line = refusal(ran)
    assert "FILE_DECODER=yaml" in line
    assert "identity, json" in line


GOOGLE = {
    "GOOGLE_PROJECT_ID": "project",
    "GOOGLE_TOPIC_ID": "topic",
    "GOOGLE_SUBSCRIPTION": "subscription",
}
PULSAR = {"PULSAR_TOPIC": "topic", "PULSAR_SUBSCRIPTION": "subscription"}


@pytest.mark.parametrize(
    ("engine", "variables", "missing"),
    [("google", GOOGLE, name) for name in GOOGLE] + [("pulsar", PULSAR, name) for name in PULSAR],
)
def test_a_mandatory_variable_that_is_missing_is_named(tmp_path, engine, variables, missing):
    given = {name: value for name, value in variables.items() if name != missing}
    line = refusal(run("minionize", "echo", cwd=tmp_path, MINION_ENGINE=engine, **given))
    assert f"{missing} is not set" in line
    assert f"MINION_ENGINE={engine}" in line


def test_the_stdout_reporter_prints_a_line_per_param(tmp_path):
    options = {"MINION_ENGINE": "file", "MINION_REPORTER": "stdout"}
    ran = run("minionize", "exit", cwd=tmp_path, stdin="0\n1\n", **options)
    first, second = ran.stdout.splitlines()
    assert first.endswith("ok")
    assert "failed" in second


def test_the_null_reporter_is_the_default_and_leaves_nothing(tmp_path):
    run("minionize", "true", cwd=tmp_path, MINION_ENGINE="file", stdin="1\n")
    assert os.listdir(tmp_path) == []


def test_an_unknown_reporter_is_named_with_those_there_are(tmp_path):
    line = refusal(
        run("minionize", "echo", cwd=tmp_path, MINION_ENGINE="file", MINION_REPORTER="x")
    )
    assert "null" in line
    assert "stdout" in line


def test_the_directory_of_events_is_settable(tmp_path):
    options = {"MINION_REPORTER": "json", "REPORTER_JSON_DIRECTORY": "there"}
    run("minionize", "true", cwd=tmp_path, MINION_ENGINE="file", stdin="1\n", **options)
    assert os.listdir(tmp_path) == ["there"]
    assert run("minion-status", cwd=tmp_path, **options).returncode == 0


@pytest.mark.parametrize("lease", ["0", "-1", "soon", "nan", "inf"])
def test_a_lease_is_a_number_of_seconds(tmp_path, lease):
    ran = run("minionize", "echo", cwd=tmp_path, MINION_ENGINE="file", MINION_LEASE=lease)
    assert f"MINION_LEASE={lease}" in refusal(ran)


# .env


def test_a_dotenv_file_is_read_first(tmp_path):
    (tmp_path / ".env").write_text('MINION_ENGINE=file\nexport FILE_PATH="params"\n')
    (tmp_path / "params").write_text("a\n")
    assert run("minionize", "echo", cwd=tmp_path).stdout == "a\n"


def test_a_dotenv_file_never_overrides_a_variable_that_is_set(tmp_path):
    (tmp_path / ".env").write_text("MINION_ENGINE=execo\nFILE_PATH=nowhere\n")
    ran = run("minionize", "echo", cwd=tmp_path, MINION_ENGINE="file", FILE_PATH="-", stdin="1\n")
    assert ran.stdout == "1\n"


def test_commands_see_what_a_dotenv_file_sets(tmp_path):
    (tmp_path / ".env").write_text("GREETING=hi ${NAME}\nMINION_ENGINE=file\nNAME=other\n")
    ran = run("minionize", "echo $GREETING", cwd=tmp_path, NAME="bob", stdin="1\n")
    assert ran.stdout == "hi bob 1\n"


def test_a_dotenv_file_that_is_not_text_is_one_line(tmp_path):
    (tmp_path / ".env").write_bytes(b"\xff\xfe")
    assert ".env" in refusal(run("minionize", "echo", cwd=tmp_path))


# .minionize.yml


def test_a_configuration_file_alone_is_enough(tmp_path):
    (tmp_path / ".minionize.yml").write_text(
        "engine: file\ncommand: echo hello\nfile_path: params\nreporter: json\n"
    )
    (tmp_path / "params").write_text("1\n2\n")
    assert run("minionize", cwd=tmp_path).stdout == "hello 1\nhello 2\n"
    assert os.listdir(tmp_path / "minion-report")
    assert run("minion-status", cwd=tmp_path).returncode == 0


def test_the_words_of_a_list_are_words(tmp_path):
    (tmp_path / ".minionize.yml").write_text(
        "engine: file\ncommand: [sh, -c, 'echo \"$0-$1\"', 'a  b']\n"
    )
    assert run("minionize", cwd=tmp_path, stdin="x\n").stdout == "a  b-x\n"


def test_the_command_line_comes_before_the_environment_before_both_files(tmp_path):
    (tmp_path / ".minionize.yml").write_text(
        "engine: execo\ncommand: echo file\nfile_path: yml\nfile_decoder: json\n"
    )
    (tmp_path / ".env").write_text("MINION_ENGINE=file\nFILE_PATH=env\n")
    (tmp_path / "set").write_text('{"from": "environment"}\n')
    ran = run("minionize", "echo line", cwd=tmp_path, FILE_PATH="set", DRY="1")
    assert ran.stdout == "echo line {'from': 'environment'}\n"


def test_failed_params_are_retried_as_often_as_the_file_says(tmp_path):
    (tmp_path / ".minionize.yml").write_text(
        "retries: 2\nreporter: json\nreporter_json_directory: there\npersistence_dir: mine\n"
        "command: echo x >> tries; false\n"
    )
    make_sweep(tmp_path / "mine", ["a"])
    assert run("minionize", cwd=tmp_path).returncode == 0
    assert (tmp_path / "tries").read_text() == "x\nx\nx\n"
    assert status(tmp_path / "mine").done == {"a"}
    (file,) = (tmp_path / "there").iterdir()
    attempts = [json.loads(line).get("attempt", 1) for line in file.read_text().splitlines()]
    assert attempts == [1, 2, 3]


def test_an_unquoted_null_is_the_reporter_of_this_name(tmp_path):
    (tmp_path / ".minionize.yml").write_text("reporter: null\nengine: file\n")
    assert run("minionize", "echo", cwd=tmp_path, stdin="1\n").stdout == "1\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("engin: file\n", ["engin", "engine", "command", "retries"]),
        ("engine: [file]\n", ["engine", "text"]),
        ("command: {a: b}\n", ["command", "list of words"]),
        ("command: [[a]]\n", ["command"]),
        ("command: ''\n", ["command"]),
        ("retries: -1\n", ["retries", "0 or more"]),
        ("retries: true\n", ["retries"]),
        ("lease: soon\n", ["lease", "seconds"]),
        ("lease: 0\n", ["lease", "greater than 0"]),
        ("- file\n", ["keys"]),
        ("engine: 'file\n", ["YAML"]),
        ("a: b: c\n", ["line 1", "YAML"]),
    ],
)
def test_a_wrong_configuration_file_is_one_line_that_names_file_and_key(tmp_path, text, said):
    (tmp_path / ".minionize.yml").write_text(text)
    line = refusal(run("minionize", "echo", cwd=tmp_path))
    for word in [".minionize.yml", *said]:
        assert word in line
