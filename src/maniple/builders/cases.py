"""tests.yml: calls of an algorithm, and what must come of them."""

from __future__ import annotations

import json
import math
import os
import shlex
from typing import Any, Final

import msgspec

from maniple.algorithm.call import Answer
from maniple.errors import AlgorithmError

FILE: Final = "tests.yml"
_SHOWN: Final = 200


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One call, and what must come of it. What is absent is not looked at.

    Attributes:
        name: for people.
        params: the arguments of `main`.
        arguments: words of the command line; one text is divided as a shell would.
        files: absolute path there to path here, of what the call finds.
        value: what `main` must return.
        tolerance: by which numbers of the value may differ, absolute or relative.
        stdout: what it must print.
        results: absolute path there to path here: of what must be in the file that is left.
        fails: a part of the sentence with which it must fail.
    """

    name: str = ""
    params: list[Any] = []
    arguments: list[str] | str = []
    files: dict[str, str] = {}
    value: Any = msgspec.UNSET
    tolerance: float = 0.0
    stdout: str | None = None
    results: dict[str, str] = {}
    fails: str | None = None

    @property
    def words(self) -> list[str]:
        """The words of the command line."""
        words = self.arguments
        return shlex.split(words) if isinstance(words, str) else words


def read_cases(path: str) -> list[Case]:
    """Read a tests.yml.

    Raises:
        AlgorithmError: it is not there, or holds something else.
    """
    import yaml

    try:
        with open(path, "rb") as file:
            tree = yaml.safe_load(file)
        cases = msgspec.convert(tree or [], list[Case])
        for case in cases:
            case.words  # noqa: B018 - raises where quotes do not close
    except FileNotFoundError:
        raise AlgorithmError(
            f"no {path}: write a list of cases, such as `- {{params: [1, 2], value: 3}}`"
        ) from None
    except OSError as error:
        raise AlgorithmError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, msgspec.ValidationError, ValueError) as error:
        raise AlgorithmError(f"{path}: {' '.join(str(error).split())}") from None
    if not cases:
        raise AlgorithmError(f"{path} holds no cases: such as `- {{params: [1, 2], value: 3}}`")
    return [
        case if case.name else msgspec.structs.replace(case, name=f"case {number}")
        for number, case in enumerate(cases, 1)
    ]


def judge(case: Case, answer: Answer, folder: str) -> list[str]:
    """Compare an answer with what must come; give a line for each difference, none when all is so.

    Args:
        case: what must come.
        answer: what came.
        folder: that the case's paths are relative to.

    Raises:
        AlgorithmError: a file to compare with cannot be read.
    """
    if case.fails is not None:
        if answer.ok:
            return [f"it did not fail, and must: {case.fails}"]
        said = f"{answer.cause}: {answer.error} {answer.stderr.decode('utf-8', 'replace')}"
        return [] if case.fails in said else [f"it failed otherwise: {said.strip()}"]
    if not answer.ok:
        return [f"it failed: {answer.error or answer.cause}"]
    wrong = []
    if case.value is not msgspec.UNSET:
        value = json.loads(answer.value)
        if not same(case.value, value, case.tolerance):
            wrong.append(f"the value is {_short(value)}, not {_short(case.value)}")
    if case.stdout is not None:
        printed = answer.stdout.decode("utf-8", "replace")
        if printed != case.stdout:
            wrong.append(f"it printed {_short(printed)}, not {_short(case.stdout)}")
    for there, here in case.results.items():
        if there not in answer.files:
            wrong.append(f"it left no {there}")
        elif answer.files[there] != read_here(folder, here):
            wrong.append(f"{there} is not as {here}")
    return wrong


def same(wanted: Any, found: Any, tolerance: float) -> bool:
    """Compare two values of JSON; numbers may differ by the tolerance."""
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(
            same(one, other, tolerance) for one, other in zip(wanted, found, strict=True)
        )
    if isinstance(wanted, dict) and isinstance(found, dict):
        return wanted.keys() == found.keys() and all(
            same(wanted[key], found[key], tolerance) for key in wanted
        )
    if _is_number(wanted) and _is_number(found):
        return math.isclose(wanted, found, rel_tol=tolerance, abs_tol=tolerance)
    return type(wanted) is type(found) and bool(wanted == found)


def read_here(folder: str, path: str) -> bytes:
    """Read a file of the user's.

    Raises:
        AlgorithmError: it cannot be read.
    """
    whole = os.path.join(folder, path)
    try:
        with open(whole, "rb") as file:
            return file.read()
    except OSError as error:
        raise AlgorithmError(f"cannot read {whole}: {error.strerror}") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
