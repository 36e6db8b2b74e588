"""How a container ended, in the words of a process that ended."""

from __future__ import annotations

import time
from typing import Any, Final

from maniple.runner import Context, Outcome
from maniple.runners.container_box import Box
from maniple.runners.container_engine import said
from maniple.runners.process import signal_name

_KILLED: Final = 137
_BY_SIGNAL: Final = 128


def not_started(start: float, cause: str, error: str) -> Outcome:
    """Tell that the command did not start."""
    return Outcome(ok=False, start=start, end=time.time(), cause=cause, error=error)


def refused(start: float, word: str, problem: BaseException) -> Outcome:
    """Tell why the engine did not start a command, in the words of a process that did not."""
    text = said(problem)
    low = text.lower()
    if "permission denied" in low:
        return not_started(
            start, "not executable", f"{word!r} cannot be executed in the image: not permitted"
        )
    if "not found" in low or "no such file or directory" in low or "is a directory" in low:
        return not_started(start, "not found", f"there is no command {word!r} in the image")
    return not_started(start, "cannot start", f"{word!r} cannot be started: {text}")


def ended_early(start: float, context: Context) -> Outcome:
    """Tell that we ended it: time was up, or the minion must stop."""
    end = time.time()
    if context.cancel.requested:
        return Outcome(ok=False, start=start, end=end, interrupted=True)
    error = f"ran longer than the time limit of {context.time_limit:g} s, and was ended"
    return Outcome(ok=False, start=start, end=end, cause="time limit", error=error)


def outcome_of(start: float, state: dict[str, Any]) -> Outcome:
    """Tell how it ended by itself, from the state that the engine tells."""
    code = int(state.get("ExitCode") or 0)
    outcome = Outcome(ok=code == 0, start=start, end=time.time(), exit_code=code)
    if code:
        outcome.cause = f"exit {code}"
        outcome.error = f"exit status {code}"
        if code > _BY_SIGNAL:
            name = signal_name(code - _BY_SIGNAL)
            if name.startswith("SIG"):
                outcome.error += f" ({name})"
        if state.get("OOMKilled"):
            outcome.cause = f"exit {code} (out of memory)"
            outcome.error = f"exit status {code} (out of memory)"
    return outcome


def explained(outcome: Outcome, box: Box) -> Outcome:
    """Name the limit that most likely ended a command, where the engine does not tell."""
    if outcome.exit_code == _KILLED and box.memory is not None and outcome.cause == "exit 137":
        # from inside nobody can kill a container's first process: it was the kernel, or an admin
        outcome.cause = "exit 137 (out of memory?)"
        outcome.error = "exit status 137 (out of memory? see --memory)"
    elif outcome.exit_code and b"esource temporarily unavailable" in outcome.stderr[-2000:]:
        outcome.cause = f"exit {outcome.exit_code} (too many processes?)"
        outcome.error = f"exit status {outcome.exit_code} (too many processes? see --pids)"
    return outcome
