"""Settings of the drop-in commands: environment, `.env` and `.minionize.yml`, as one value.

Nothing is read here: the texts and the environment are passed in.
Precedence: environment, `.env`, `.minionize.yml`, defaults.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from maniple.errors import UsageError

CONFIG_NAME: Final = ".minionize.yml"
DECODERS: Final = ("identity", "json")

VARIABLES: Final[dict[str, str]] = {
    "engine": "MINION_ENGINE",
    "reporter": "MINION_REPORTER",
    "lease": "MINION_LEASE",
    "retries": "MINION_RETRIES",
    "execo_persistence_dir": "EXECO_PERSISTENCE_DIR",
    "file_path": "FILE_PATH",
    "file_decoder": "FILE_DECODER",
    "google_project_id": "GOOGLE_PROJECT_ID",
    "google_topic_id": "GOOGLE_TOPIC_ID",
    "google_subscription": "GOOGLE_SUBSCRIPTION",
    "google_decoder": "GOOGLE_DECODER",
    "pulsar_connection": "PULSAR_CONNECTION",
    "pulsar_topic": "PULSAR_TOPIC",
    "pulsar_subscription": "PULSAR_SUBSCRIPTION",
    "pulsar_decoder": "PULSAR_DECODER",
    "reporter_json_directory": "REPORTER_JSON_DIRECTORY",
}
"""Each setting (and key of `.minionize.yml`) and its environment variable."""

ALIASES: Final = {"persistence_dir": "execo_persistence_dir"}

MANDATORY: Final[dict[str, tuple[str, ...]]] = {
    "google": ("google_project_id", "google_topic_id", "google_subscription"),
    "pulsar": ("pulsar_topic", "pulsar_subscription"),
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of the drop-in commands; the fields' comments are in docs/minionize.md.

    Attributes:
        lease: seconds that a lease lasts unless it is renewed.
        retries: how many more times a failed param is run before it is acknowledged.
        command: text for the shell, from `.minionize.yml`; None when it names none.
        dry: only print the commands.
        additions: what `.env` adds to the environment; variables that are set are not in it.
    """

    engine: str = "execo"
    reporter: str = "null"
    lease: float = 30.0
    retries: int = 0
    command: str | None = None
    dry: bool = False
    execo_persistence_dir: str = "sweeps"
    file_path: str = ""
    file_decoder: str = "identity"
    google_project_id: str = ""
    google_topic_id: str = ""
    google_subscription: str = ""
    google_decoder: str = "identity"
    pulsar_connection: str = "pulsar://localhost:6650"
    pulsar_topic: str = ""
    pulsar_subscription: str = ""
    pulsar_decoder: str = "identity"
    reporter_json_directory: str = "minion-report"
    additions: dict[str, str] = {}


def read_settings(
    environ: Mapping[str, str], dotenv: str = "", config: str = "", name: str = CONFIG_NAME
) -> Settings:
    """Put the settings together.

    Args:
        environ: the environment.
        dotenv: text of `.env`, or nothing.
        config: text of `.minionize.yml`, or nothing.
        name: what to call that file in messages.

    Raises:
        UsageError: a key, a type or a value is wrong, or a mandatory variable is missing; the
            message names it.
    """
    additions = _parse_dotenv(dotenv, environ) if dotenv.strip() else {}
    merged = {**additions, **environ}
    values = _parse_config(config, name) if config.strip() else {}
    for field, variable in VARIABLES.items():
        if variable in merged:
            values[field] = _from_text(field, variable, merged[variable])
    settings = Settings(**values, dry="DRY" in merged, additions=additions)
    _check(settings)
    return settings


def _parse_dotenv(text: str, environ: Mapping[str, str]) -> dict[str, str]:
    from io import StringIO

    from dotenv import dotenv_values
    from dotenv.variables import parse_variables

    found: dict[str, str] = {}
    for key, value in dotenv_values(stream=StringIO(text), interpolate=False).items():
        if value is None:
            continue
        scope: dict[str, str | None] = {**found, **environ}
        found[key] = "".join(atom.resolve(scope) for atom in parse_variables(value))
    return {key: value for key, value in found.items() if key not in environ}


def _from_text(field: str, variable: str, text: str) -> Any:
    if field == "lease":
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        return _positive(seconds, f"{variable}={text}")
    if field == "retries":
        if not (text.isascii() and text.isdecimal()):
            raise UsageError(f"{variable}={text}: a whole number of 0 or more is needed")
        return int(text)
    return text


def _positive(seconds: float, where: str) -> float:
    if not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"{where}: seconds greater than 0 are needed")
    return seconds


def _parse_config(text: str, name: str) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise UsageError(f"{name}{line}: not valid YAML: {problem}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{name}: keys with values are needed, as in `engine: file`")
    values: dict[str, Any] = {}
    for key, value in content.items():
        field = ALIASES.get(str(key).lower(), str(key).lower())
        where = f"{name}: {key}"
        if field == "command":
            values[field] = _command(value, where)
        elif field not in VARIABLES:
            accepted = ", ".join(sorted({"command", *VARIABLES, *ALIASES}))
            raise UsageError(f"{where}: no such key; there are {accepted}")
        elif field == "lease":
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UsageError(f"{where}: a number of seconds is needed, not {_kind(value)}")
            values[field] = _positive(float(value), where)
        elif field == "retries":
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise UsageError(f"{where}: a whole number of 0 or more is needed")
            values[field] = value
        elif field == "reporter" and value is None:
            # an unquoted null is YAML's nothing, and the name of the reporter
            values[field] = "null"
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            values[field] = str(value)
        else:
            raise UsageError(f"{where}: text is needed, not {_kind(value)}")
    return values


def _command(value: Any, where: str) -> str:
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, list) and value:
        if all(isinstance(w, str | int | float) and not isinstance(w, bool) for w in value):
            return shlex.join(str(word) for word in value)
        raise UsageError(f"{where}: the words of a command are text or numbers")
    raise UsageError(f"{where}: text or a list of words is needed, not {_kind(value)}")


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", bool: "a truth value", str: "text"}
    return names.get(type(value), "nothing" if value is None else type(value).__name__)


def _check(settings: Settings) -> None:
    for field in MANDATORY.get(settings.engine, ()):
        if not getattr(settings, field):
            raise UsageError(
                f"{VARIABLES[field]} is not set, and MINION_ENGINE={settings.engine} needs it:"
                f" set it in the environment, in .env or in {CONFIG_NAME} ({field})"
            )
    for field in ("file_decoder", "google_decoder", "pulsar_decoder"):
        if (value := getattr(settings, field)) not in DECODERS:
            raise UsageError(
                f"{VARIABLES[field]}={value}: no such decoder; there are {', '.join(DECODERS)}"
            )
