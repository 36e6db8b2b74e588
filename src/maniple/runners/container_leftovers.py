"""Containers that their owners did not remove, for they were killed: found by labels, and ended.

Every container says which process made it, and of which run it is.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Final

from maniple import owner
from maniple.runners.container_engine import Place, connect

OWNER: Final = "maniple.owner"
RUN: Final = "maniple.run"
_LOOKS: Final = 3
_PAUSE_SECONDS: Final = 0.3
_PATIENCE_SECONDS: Final = 60.0


def labels(run: str) -> dict[str, str]:
    """Make the labels of a container of this process."""
    return {OWNER: owner.identity(), RUN: run}


def remove(api: Any, name: str) -> bool:
    """End and remove a container with its volumes; False when the engine could not.

    Args:
        api: the engine's, from the Docker SDK.
        name: of the container. One that is gone, or about to go, is no error.
    """
    from docker.errors import APIError, NotFound
    from requests.exceptions import RequestException

    try:
        api.remove_container(name, force=True, v=True)
    except NotFound:
        pass
    except APIError as error:
        text = str(error.explanation or "")
        return "already in progress" in text
    except RequestException:
        return False
    return True


def remove_dead(api: Any) -> None:
    """Remove the containers whose makers certainly do not live any more."""
    for container in _labelled(api, OWNER):
        maker = (container.get("Labels") or {}).get(OWNER, "")
        if owner.is_dead(maker):
            remove(api, container["Id"])


def remove_labelled(api: Any, name: str, value: str) -> None:
    """Remove the containers that have a label of this value."""
    for container in _labelled(api, f"{name}={value}"):
        remove(api, container["Id"])


def remove_run(place: Place, version: str, run: str, *, killed: bool) -> None:
    """Remove the containers of a run that is over.

    Args:
        place: of the engine.
        version: of its API.
        run: the run.
        killed: its processes were killed; what they asked for may be made yet.
    """
    with suppress(Exception):
        api = connect(place, version, _PATIENCE_SECONDS)
        try:
            for look in range(_LOOKS if killed else 1):
                if look:
                    time.sleep(_PAUSE_SECONDS)
                remove_labelled(api, RUN, run)
        finally:
            api.close()


def _labelled(api: Any, label: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.containers(all=True, filters={"label": [label]})
    return found
