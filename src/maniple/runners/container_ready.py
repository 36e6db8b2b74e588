"""Whether an engine and an image do what is asked, found out before any task is taken."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from maniple import owner
from maniple.errors import StorageError, UsageError
from maniple.runners import container_apptainer as apptainer
from maniple.runners import container_box
from maniple.runners.container_box import PIDS, Box
from maniple.runners.container_engine import Place, asked, connect, find, said
from maniple.runners.container_leftovers import labels, remove, remove_dead, remove_run
from maniple.runners.container_recipe import Recipe


class Ready(NamedTuple):
    """An engine and an image that were found good; plain data, the same in a forked process.

    Attributes:
        box: as it was asked for, with what the engine cannot limit left out.
        place: of the engine.
        version: of its API.
        user: whom commands run as.
        run: the label that all containers of this run have.
        swap: whether swap can be limited, too.
        unchecked: whether the image brings a check of its health, which is switched off.
        image: the path of an image that is a file.
    """

    box: Box
    place: Place
    version: str = ""
    user: str = ""
    run: str = ""
    swap: bool = False
    unchecked: bool = False
    image: str = ""

    def recipe(self) -> Recipe:
        """Make what describes the containers of this process."""
        local = self.place.url is not None and self.place.url.startswith("unix:")
        return Recipe(
            self.box,
            self.user,
            labels(self.run),
            swap=self.swap,
            local=local,
            unchecked=self.unchecked,
        )

    def clear(self, *, killed: bool) -> None:
        """Remove all containers of the run, which is over; `killed` when not by itself."""
        if self.place.url is not None:
            remove_run(self.place, self.version, self.run, killed=killed)


def prepare(box: Box) -> Ready:
    """Find engine and image, and check that they do what is asked, before any task is taken.

    Raises:
        UsageError: an option is wrong, there is no engine, no such image, or the engine cannot
            do it; the text says what to do.
        MissingExtraError: the Docker SDK is not installed.
    """
    container_box.check(box)
    place = find(box.engine, box.image)
    if place.program is not None:
        apptainer.check(box)
        _check_mounts(box)
        return Ready(box, place, image=apptainer.locate(place.program, box))
    if place.url is not None and place.url.startswith("unix:"):
        _check_mounts(box)
    api = connect(place)
    try:
        return _checked(api, box, place)
    except StorageError as error:
        raise UsageError(str(error)) from None
    finally:
        api.close()


def _check_mounts(box: Box) -> None:
    for mount in box.mounts:
        if not os.path.exists(mount.source):
            raise UsageError(f"--mount: there is no {mount.source} here")


def _checked(api: Any, box: Box, place: Place) -> Ready:
    from docker.errors import APIError

    # it costs Podman a lot to tell about itself
    wants_limits = (box.memory, box.cpus, box.pids) != (None, None, None)
    try:
        image = _image(api, box)
        about = asked(api.info) if wants_limits or (os.getuid() and not box.user) else {}
    except APIError as error:
        raise UsageError(f"the container engine at {place.url} fails: {said(error)}") from None
    for wanted, able, option in (
        (box.memory, "MemoryLimit", "--memory"),
        (box.cpus, "CpuCfsQuota", "--cpus"),
        (box.pids, "PidsLimit", "--pids"),
    ):
        if wanted is not None and about.get(able) is False:
            raise UsageError(f"this container engine cannot limit with {option}: leave it out")
    if box.pids is None and about.get("PidsLimit") is not False:
        box = box._replace(pids=PIDS)
    # who runs an engine of their own is root in its containers, and nobody special outside
    rootless = any("rootless" in str(each) for each in about.get("SecurityOptions") or ())
    user = box.user or ("0:0" if rootless else f"{os.getuid()}:{os.getgid()}")
    version = str(api._version)  # noqa: SLF001 - what it agreed on with the engine
    swap = about.get("SwapLimit") is not False
    run = f"{owner.identity()}-{os.urandom(4).hex()}"
    checked = bool((image.get("Config") or {}).get("Healthcheck"))
    ready = Ready(box, place, version, user, run, swap, checked)
    remove_dead(api)
    refusable = (box.memory, box.cpus, box.mounts, box.workdir, box.user)
    if box.network in {"none", "host"} and not any(refusable):
        return ready
    name = new_name()
    config = ready.recipe().config(["true"], [])
    try:
        # it tells of wrong networks, users, mounts and limits now, and not in each task
        asked(api.create_container_from_config, config, name)
    except APIError as error:
        raise UsageError(f"cannot make a container of {box.image}: {said(error)}") from None
    finally:
        remove(api, name)
    return ready


def _image(api: Any, box: Box) -> dict[str, Any]:
    """Look at the image; fetch it before where that was asked for and it is not there."""
    from docker.errors import ImageNotFound

    try:
        found: dict[str, Any] = asked(api.inspect_image, box.image)
    except ImageNotFound:
        if not box.pull:
            raise UsageError(
                f"there is no image {box.image} here: --pull fetches it first"
            ) from None
        _pull(api, box.image)
        found = asked(api.inspect_image, box.image)
    return found


def _pull(api: Any, image: str) -> None:
    from docker.errors import APIError
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(image)
    try:
        for line in api.pull(repository, tag=tag or "latest", stream=True, decode=True):
            if line.get("error"):
                raise UsageError(f"cannot fetch the image {image}: {_line(line['error'])}")
    except APIError as error:
        raise UsageError(f"cannot fetch the image {image}: {said(error)}") from None


def _line(text: object) -> str:
    return said(Exception(text))


def new_name() -> str:
    """Give a container of ours a name that no other has."""
    return f"maniple-{os.urandom(8).hex()}"
