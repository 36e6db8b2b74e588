"""Where a network comes from: a YAML file, a Python file, or an object in a module."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from maniple.errors import UsageError
from maniple.network.graph import Network
from maniple.network.job import Job
from maniple.network.pipe import Pipe
from maniple.network.sinks import CSVSink

_JOB_KEYS: Final = ("run", "csv", "with", "inputs", "outputs", "rewinds")
_PIPE_KEYS: Final = ("encoding", "blocks", "size", "count", "optional", "default")


def load(target: str) -> Network:
    """Find a network.

    Args:
        target: `FILE.yaml`; `FILE.py` or `MODULE`, with a `network` in it, or `FILE.py:NAME`. What
            is found may be a function that makes a network.

    Raises:
        UsageError: there is none, or its description is wrong.
    """
    path, _, name = target.partition(":")
    if path.endswith((".yaml", ".yml")):
        return from_yaml(path)
    module = _from_file(path) if path.endswith(".py") else _from_name(path)
    found = getattr(module, name or "network", None)
    if found is None:
        raise UsageError(f"{path} has no {name or 'network'}: name it as {path}:NAME")
    if callable(found) and not isinstance(found, Network):
        try:
            found = found()
        except TypeError as error:
            raise UsageError(f"{target} cannot be made: {error}") from None
    if not isinstance(found, Network):
        raise UsageError(f"{target} is no Network but {type(found).__name__}")
    return found


def _from_file(path: str) -> Any:
    if not os.path.exists(path):
        raise UsageError(f"no file {path}")
    folder, file = os.path.split(os.path.abspath(path))
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return _from_name(file.removesuffix(".py"))


def _from_name(name: str) -> Any:
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(f"no module {error.name}: name a .yaml or .py file, or a module") from None


def from_yaml(path: str) -> Network:
    """Read a network from a YAML file; functions are looked for beside it as well.

    Raises:
        UsageError: the file cannot be read, or says something that makes no sense; the message
            names the place.
    """
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            found = yaml.safe_load(file)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, Mapping) or not isinstance(found.get("jobs"), Mapping):
        raise UsageError(f"{path}: 'jobs:' with a name for each job is needed")
    _known(found, ("name", "jobs", "pipes"), path)
    folder = os.path.dirname(os.path.abspath(path))
    if folder not in sys.path:
        sys.path.insert(0, folder)
    stem = os.path.splitext(os.path.basename(path))[0]
    network = Network(str(found.get("name") or stem))
    described = found.get("pipes") or {}
    for name, about in described.items():
        _known(_mapping(about, f"{path}: pipe {name}"), _PIPE_KEYS, f"{path}: pipe {name}")
    pipes = {str(name): Pipe(str(name), **about) for name, about in described.items()}
    for name, about in found["jobs"].items():
        _add(network, str(name), _mapping(about, f"{path}: job {name}"), pipes, path)
    return network


def _add(
    network: Network, name: str, about: Mapping[str, Any], pipes: Mapping[str, Pipe], path: str
) -> None:
    where = f"{path}: job {name}"
    _known(about, _JOB_KEYS, where)
    inputs = [pipes.get(str(pipe), str(pipe)) for pipe in _names(about, "inputs", where)]
    outputs = [pipes.get(str(pipe), str(pipe)) for pipe in _names(about, "outputs", where)]
    options = dict(_mapping(about.get("with") or {}, f"{where}, with"))
    if ("run" in about) == ("csv" in about):
        raise UsageError(f"{where}: either run: MODULE:FUNCTION or csv: FILE is needed")
    if "csv" in about:
        if outputs:
            raise UsageError(f"{where}: a CSV file has no outputs")
        network.add(CSVSink(str(about["csv"]), inputs, name=name))
        return
    work = _function(str(about["run"]), where)
    if isinstance(work, type) and issubclass(work, Job):
        try:
            job = work(inputs=inputs, outputs=outputs, **options)
        except TypeError as error:
            raise UsageError(f"{where}: {error}") from None
        job.name = name
        network.add(job)
        return
    if options:
        work = functools.partial(work, **options)
    network.add(work, inputs=inputs, outputs=outputs, name=name, rewinds=bool(about.get("rewinds")))


def _function(text: str, where: str) -> Callable[..., Any]:
    module, colon, name = text.partition(":")
    if not colon:
        raise UsageError(f"{where}: run: {text}: write MODULE:FUNCTION")
    try:
        found = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except ModuleNotFoundError as error:
        raise UsageError(f"{where}: no module {error.name}") from None
    except AttributeError:
        raise UsageError(f"{where}: module {module} has no {name}") from None
    if not callable(found):
        raise UsageError(f"{where}: {text} cannot be called")
    function: Callable[..., Any] = found
    return function


def _names(about: Mapping[str, Any], key: str, where: str) -> list[Any]:
    found = about.get(key) or []
    if isinstance(found, str | int):
        return [found]
    if not isinstance(found, list):
        raise UsageError(f"{where}: {key}: a list of pipes is needed")
    return found


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where}: 'key: value' pairs are needed, not {value!r}")
    return value


def _known(about: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in about:
        if key not in known:
            raise UsageError(f"{where}: no key {key!r}: there are {', '.join(known)}")
