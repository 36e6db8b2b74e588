"""Code of users is imported: what is wrong with it is one line that names its place."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import Any, Final

from maniple.errors import ManipleError, UsageError

_OURS: Final = os.path.dirname(os.path.abspath(__file__))


def imported(load: Callable[[], Any], name: str) -> Any:
    """Import something of a user.

    Args:
        load: does it.
        name: of it, for when no line of it is to blame.

    Raises:
        UsageError: it cannot be imported; the message names file and line.
    """
    try:
        return load()
    except SyntaxError as error:
        raise UsageError(f"{shown(error.filename)}, line {error.lineno}: {error.msg}") from None
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise
        raise UsageError(
            f"{_blame(error, name)}: no module {error.name!r}: mend the import, or install it"
        ) from None
    except ManipleError as error:
        raise UsageError(f"{_blame(error, name)}: {error}") from None
    except (Exception, SystemExit) as error:
        said = " ".join(traceback.format_exception_only(error)[-1].split())
        raise UsageError(f"{_blame(error, name)}: {said}") from None


def shown(path: str | None) -> str:
    """Write a path as it is seen from here, if that is shorter."""
    if not path:
        return "?"
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative


def trace(error: BaseException) -> str:
    """Format an exception's traceback from the first line of the user on.

    Nothing, if it is ours from end to end and was meant to be read as one line.
    """
    found = error.__traceback__
    while found is not None and found.tb_frame.f_code.co_filename.startswith(_OURS):
        found = found.tb_next
    if found is None and type(error).__module__.startswith("maniple."):
        return ""
    whole = traceback.format_exception(type(error), error, found or error.__traceback__)
    return "".join(whole)


def _blame(error: BaseException, name: str) -> str:
    """Name the innermost line that is neither ours nor of an installed package."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        path = frame.f_code.co_filename
        if _is_users(path):
            return f"{shown(path)}, line {line}"
    return name


def _is_users(path: str) -> bool:
    if path.startswith(("<", _OURS)) or f"{os.sep}site-packages{os.sep}" in path:
        return False
    return not path.startswith(os.path.dirname(os.__file__))
