"""Where a network comes from: a YAML file, a Python file, or an object in a module."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from maniple.errors import AlgorithmError, UsageError
from maniple.network.graph import Network
from maniple.network.job import FunctionJob, Job
from maniple.network.pipe import Pipe
from maniple.network.program import Program
from maniple.network.sinks import CSVSink
from maniple.network.usercode import imported, shown

_FILE: Final = "network.yaml"
_WORK: Final = ("run", "csv", "program", "algorithm")
_JOB_KEYS: Final = (*_WORK, "with", "inputs", "outputs", "rewinds", "groups", "max_queue")
_PIPE_KEYS: Final = ("encoding", "blocks", "size", "count", "optional", "default")


def load(target: str) -> Network:
    """Find a network.

    Args:
        target: `FILE.yaml`, or a folder with a network.yaml; `FILE.py` or `MODULE`, with a
            `network` in it, or `FILE.py:NAME`. What is found may be a function that makes a
            network.

    Raises:
        UsageError: there is none, or its description is wrong.
    """
    path, _, name = target.partition(":")
    if os.path.isdir(path) and os.path.isfile(os.path.join(path, _FILE)):
        path = os.path.join(path, _FILE)
    if path.endswith((".yaml", ".yml")):
        return from_yaml(path)
    module = _from_file(path) if path.endswith(".py") else _from_name(path)
    found = getattr(module, name or "network", None)
    if found is None:
        raise UsageError(f"{path} has no {name or 'network'}: name it as {path}:NAME")
    if callable(found) and not isinstance(found, Network):
        found = imported(found, f"{target} cannot be made")
    if not isinstance(found, Network):
        raise UsageError(f"{target} is no Network but {type(found).__name__}")
    return found


def _from_file(path: str) -> Any:
    if not os.path.exists(path):
        raise UsageError(f"no file {path}")
    folder, file = os.path.split(os.path.abspath(path))
    _look_in(folder)
    name = file.removesuffix(".py")
    if name in sys.modules or name in sys.stdlib_module_names:
        # not in the way of the module of the same name that others import
        name = f"network_file_{name}"
    spec = importlib.util.spec_from_file_location(name, os.path.join(folder, file))
    assert spec is not None  # noqa: S101 - it ends in .py
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader = spec.loader
    imported(lambda: loader.exec_module(module), path)
    return module


def _look_in(folder: str) -> None:
    """Import from a folder; before installed packages, but Python's own modules stay its own."""
    if folder not in sys.path:
        installed = (at for at, path in enumerate(sys.path) if path.endswith("-packages"))
        sys.path.insert(next(installed, len(sys.path)), folder)


def _from_name(name: str) -> Any:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"no network {name!r}: name a .yaml or .py file, or a module")
    _look_in(os.getcwd())
    try:
        return imported(lambda: importlib.import_module(name), name)
    except ModuleNotFoundError as error:
        raise UsageError(f"no module {error.name}: name a .yaml or .py file, or a module") from None


def from_yaml(path: str) -> Network:
    """Read a network from a YAML file; functions are looked for beside it as well.

    The keys of a job and of a pipe are in docs/networks.md.

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
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, Mapping) or not isinstance(found.get("jobs"), Mapping):
        raise UsageError(f"{path}: 'jobs:' with a name for each job is needed")
    _known(found, ("name", "jobs", "pipes"), path)
    _look_in(os.path.dirname(os.path.abspath(path)))
    stem = os.path.splitext(os.path.basename(path))[0]
    network = Network(str(found.get("name") or stem))
    described = _mapping(found.get("pipes") or {}, f"{path}: pipes")
    for name, about in described.items():
        _known(_mapping(about, f"{path}: pipe {name}"), _PIPE_KEYS, f"{path}: pipe {name}")
    pipes = {str(name): _pipe(str(name), about, path) for name, about in described.items()}
    for name, about in found["jobs"].items():
        _add(network, str(name), _mapping(about, f"{path}: job {name}"), pipes, path)
    return network


def _pipe(name: str, about: Mapping[str, Any], path: str) -> Pipe:
    for key in ("blocks", "size", "count"):
        if type(about.get(key, 1)) is not int:
            raise UsageError(f"{path}: pipe {name}: {key} is a number, not {about[key]!r}")
    try:
        return Pipe(name, **about)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _add(
    network: Network, name: str, about: Mapping[str, Any], pipes: Mapping[str, Pipe], path: str
) -> None:
    where = f"{path}: job {name}"
    _known(about, _JOB_KEYS, where)
    inputs = [pipes.get(str(pipe), str(pipe)) for pipe in _names(about, "inputs", where)]
    outputs = [pipes.get(str(pipe), str(pipe)) for pipe in _names(about, "outputs", where)]
    options = dict(_mapping(about.get("with") or {}, f"{where}, with"))
    if sum(key in about for key in _WORK) != 1:
        raise UsageError(
            f"{where}: one of run: MODULE:FUNCTION, program: COMMAND and csv: FILE is needed,"
            " or algorithm: NAME@VERSION"
        )
    bound = about.get("max_queue", 0)
    if type(bound) is not int or bound < 0:
        raise UsageError(f"{where}: max_queue is a number, not {bound!r}")
    if bound and "program" in about:
        raise UsageError(f"{where}: a program has no max_queue: it takes blocks as it reads them")
    try:
        job = _job(about, inputs, outputs, options, where)
    except TypeError as error:
        raise UsageError(f"{where}, with: {error}") from None
    job.name = name
    job.REWINDS = job.REWINDS or bool(about.get("rewinds"))
    job.MAX_QUEUE = bound or job.MAX_QUEUE
    if "groups" in about:
        job.GROUPS = [str(group) for group in _names(about, "groups", where)]
    network.add(job)


def _job(
    about: Mapping[str, Any],
    inputs: Sequence[Pipe | str],
    outputs: Sequence[Pipe | str],
    options: dict[str, Any],
    where: str,
) -> Job:
    if "csv" in about:
        if outputs:
            raise UsageError(f"{where}: a CSV file has no outputs")
        return CSVSink(str(about["csv"]), inputs, **options)
    if "program" in about:
        try:
            return Program(about["program"], inputs, outputs, **options)
        except ValueError as error:
            raise UsageError(f"{where}: program: {error}") from None
    if "algorithm" in about:
        return _algorithm(str(about["algorithm"]), inputs, outputs, options, where)
    work = _function(str(about["run"]), where)
    if isinstance(work, type) and issubclass(work, Job):
        made: Job = work(inputs=inputs, outputs=outputs, **options)
        return made
    if options:
        with suppress(ValueError):  # not everything in C tells what it takes
            inspect.signature(work).bind_partial(**options)
        work = functools.partial(work, **options)
    return FunctionJob(work, inputs, outputs)


def _algorithm(
    name: str,
    inputs: Sequence[Pipe | str],
    outputs: Sequence[Pipe | str],
    options: dict[str, Any],
    where: str,
) -> Job:
    from maniple.algorithm.call import Limits
    from maniple.network.algorithm import AlgorithmJob

    limits = options.pop("limits", None)
    if limits is not None:
        _known(_mapping(limits, f"{where}, limits"), Limits.__struct_fields__, f"{where}, limits")
        try:
            options["limits"] = msgspec.convert(limits, Limits)
        except msgspec.ValidationError as error:
            raise UsageError(f"{where}, limits: {error}") from None
    try:
        return AlgorithmJob(name, inputs, outputs, **options)
    except AlgorithmError as error:
        raise UsageError(f"{where}: {error}") from None


def _function(text: str, where: str) -> Callable[..., Any]:
    module, colon, name = text.partition(":")
    if not colon:
        raise UsageError(f"{where}: run: {text}: write MODULE:FUNCTION")
    if not all(part.isidentifier() for part in module.split(".")):
        raise UsageError(f"{where}: run: {text}: {module!r} is no module: write MODULE:FUNCTION")
    try:
        found = imported(lambda: importlib.import_module(module), module)
    except ModuleNotFoundError as error:
        raise UsageError(f"{where}: no module {error.name}") from None
    try:
        found = functools.reduce(getattr, name.split("."), found)
    except AttributeError:
        path = getattr(found, "__file__", None)
        of = f" ({shown(path)})" if path else ""
        raise UsageError(f"{where}: module {module}{of} has no {name}") from None
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
