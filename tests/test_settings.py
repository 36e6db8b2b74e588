"""Settings of the drop-in commands, put together from texts."""

import pytest

from maniple.errors import UsageError
from maniple.settings import Settings, read_settings


def test_nothing_set_means_the_defaults():
    settings = read_settings({})
    assert settings == Settings()
    assert (settings.engine, settings.reporter, settings.lease) == ("execo", "null", 30.0)
    assert (settings.execo_persistence_dir, settings.file_path) == ("sweeps", "")
    assert settings.pulsar_connection == "pulsar://localhost:6650"
    assert settings.reporter_json_directory == "minion-report"


def test_the_environment_comes_before_dotenv_before_the_configuration():
    config = "engine: a\nfile_path: a\nlease: 1\n"
    dotenv = "MINION_ENGINE=b\nFILE_PATH=b"
    settings = read_settings({"MINION_ENGINE": "c"}, dotenv, config)
    assert (settings.engine, settings.file_path, settings.lease) == ("c", "b", 1.0)


def test_dotenv_adds_only_what_is_not_set():
    settings = read_settings({"A": "set"}, "A=file\nB=file\n")
    assert settings.additions == {"B": "file"}


def test_dotenv_refers_to_the_environment_and_to_itself():
    settings = read_settings({"HOME": "/h"}, "A=${HOME}/a\nB=${A}/b\nC='${A}'\nD=${NONE:-d}")
    assert settings.additions == {"A": "/h/a", "B": "/h/a/b", "C": "/h/a", "D": "d"}


@pytest.mark.parametrize("source", ["environment", "dotenv"])
def test_any_value_of_dry_counts(source):
    if source == "environment":
        assert read_settings({"DRY": ""}).dry
    else:
        assert read_settings({}, "DRY=0").dry


def test_a_mandatory_variable_may_come_from_any_source():
    config = "engine: google\ngoogle_topic_id: t\n"
    settings = read_settings({"GOOGLE_PROJECT_ID": "p"}, "GOOGLE_SUBSCRIPTION=s", config)
    assert settings.google_topic_id == "t"


def test_an_empty_mandatory_variable_is_missing():
    variables = {"MINION_ENGINE": "pulsar", "PULSAR_TOPIC": "", "PULSAR_SUBSCRIPTION": "s"}
    with pytest.raises(UsageError, match="PULSAR_TOPIC is not set"):
        read_settings(variables)


@pytest.mark.parametrize("text", ["-1", "1.5", "many", "", "²"])
def test_retries_are_a_whole_number(text):
    with pytest.raises(UsageError, match="MINION_RETRIES"):
        read_settings({"MINION_RETRIES": text})


@pytest.mark.parametrize(
    ("config", "command"),
    [
        ("command: a b", "a b"),
        ("command: [a, 'b c', 1]", "a 'b c' 1"),
        ("# nothing\n", None),
    ],
)
def test_a_command_is_text_or_words(config, command):
    assert read_settings({}, config=config).command == command


def test_a_wrong_key_is_named_with_file_and_the_keys_there_are():
    with pytest.raises(UsageError, match=r"^my\.yml: colour: no such key; there are command, "):
        read_settings({}, config="colour: red", name="my.yml")
