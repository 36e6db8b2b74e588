"""`maniple algorithm`: make, build, test and try a WebAssembly algorithm."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Final

import click

from maniple.cli.options import Duration
from maniple.errors import AlgorithmError, Exit, StorageError, UsageError

_LANGUAGES: Final = ("rust", "c", "c++", "fortran", "make")

manifest_option = click.option(
    "-c",
    "--config",
    "manifest",
    metavar="FILE",
    default="motivus.yml",
    show_default=True,
    help="What it is called and how it is built.",
)
debug_option = click.option(
    "-D", "--debug", is_flag=True, help="With symbols, and without optimisation."
)
build_dir_option = click.option(
    "--build-dir",
    metavar="DIR",
    default="build",
    show_default=True,
    help="Where the package goes.",
)


def about_options(command: Any) -> Any:
    """Add the options with what a registry shows about an algorithm."""
    for option, text in (
        ("--upstream-url", "Of the program that it is made of."),
        ("--url", "Of its page."),
        ("--author", "Who wrote it."),
        ("--license", "Such as MIT or Apache-2.0."),
        ("--description", "What it does, in a line."),
    ):
        command = click.option(option, metavar="TEXT", help=text)(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def algorithm() -> None:
    """Make, build, test and try a WebAssembly algorithm.

    \b
    maniple algorithm new primes --language c     a project to start from
    cd primes; maniple algorithm build            build/primes-0.1.0.zip
    maniple algorithm test                        the cases of tests.yml
    maniple algorithm run primes '[1, 2, 3]' 2    one call, in a sandbox
    """  # noqa: D301 - \b is click's mark


@algorithm.command("new")
@click.argument("name")
@click.option(
    "--language",
    type=click.Choice(_LANGUAGES, case_sensitive=False),
    default="rust",
    show_default=True,
    help="What it is written in; make: one's own Makefile.",
)
@about_options
def new_project(name: str, language: str, **about: str | None) -> None:
    """Make a folder NAME with a small algorithm that builds and passes its tests."""
    make_project(name, language, about)


def make_project(name: str, language: str, about: dict[str, str | None]) -> None:
    """Make a project and say what to do next."""
    from maniple.builders.new import About, new

    for path in new(name, language=language, about=About(**{k: v or "" for k, v in about.items()})):
        click.echo(f"  {path}")
    click.echo(f"made {name}: try  cd {name} && maniple algorithm test")


@algorithm.command("build")
@manifest_option
@debug_option
@build_dir_option
def build_package(manifest: str, debug: bool, build_dir: str) -> None:  # noqa: FBT001
    """Compile to DIR/NAME-VERSION.zip: the module, its loader, its file system.

    The same sources give the same package. What the compiler says is shown as it says it.
    """
    from maniple.builders.build import build

    build(manifest, build_dir=build_dir, debug=debug, echo=click.echo)


@algorithm.command("clean")
@build_dir_option
def clean_builds(build_dir: str) -> None:
    """Remove what builds made."""
    from maniple.builders.build import clean

    click.echo(f"removed {build_dir}" if clean(build_dir) else f"there is no {build_dir}")


@algorithm.command("test")
@manifest_option
@debug_option
@build_dir_option
@click.option("--time-limit", type=Duration(), default=60.0, metavar="TIME", help="Of a case.")
def run_cases(manifest: str, debug: bool, build_dir: str, time_limit: float) -> int:  # noqa: FBT001
    """Build the algorithm and run the cases of tests.yml, which stands beside motivus.yml.

    A case is one call and what must come of it; `maniple algorithm new` writes an example.
    """
    from maniple.algorithm.call import Limits
    from maniple.builders.build import build_of
    from maniple.builders.cases import FILE, judge, read_cases, read_here
    from maniple.builders.manifest import read_manifest
    from maniple.runners.algorithm import run_package

    project = read_manifest(manifest)
    cases = read_cases(os.path.join(os.path.dirname(project.path), FILE))
    built = build_of(project, build_dir=build_dir, debug=debug, echo=click.echo)
    failed = 0
    for case in cases:
        answer = run_package(
            built.package,
            params=json.dumps(case.params).encode(),
            arguments=case.words,
            files={there: read_here(project.folder, here) for there, here in case.files.items()},
            results=list(case.results),
            limits=Limits(seconds=time_limit),
        )
        wrong = judge(case, answer, project.folder)
        failed += bool(wrong)
        click.echo(f"  {'failed' if wrong else 'ok':6}  {case.name}")
        for line in wrong:
            click.echo(f"          {line}")
        if wrong and answer.stderr:
            click.echo(_text(answer.stderr).rstrip("\n"))
    click.echo(f"{len(cases) - failed} of {len(cases)} cases passed")
    return Exit.SOME_FAILED if failed else Exit.OK


# the words may be numbers below zero
@algorithm.command("run", context_settings={"ignore_unknown_options": True})
@click.argument("name", metavar="ALGORITHM")
@click.argument("params", nargs=-1, metavar="[PARAM]...")
@click.option("--arg", "arguments", multiple=True, metavar="WORD", help="Of its command line.")
@click.option(
    "--file", "files", multiple=True, metavar="THERE=HERE", help="A file that it finds at THERE."
)
@click.option(
    "--result", "results", multiple=True, metavar="THERE=HERE", help="Keep what it leaves at THERE."
)
@click.option("--time-limit", type=Duration(), metavar="TIME", help="Default: one hour.")
@click.option("--memory", metavar="SIZE", help="Most memory: 512m, 2g. Default: 1g.")
def run_once(name: str, params: tuple[str, ...], **options: Any) -> int:
    """Call ALGORITHM once, here, in a sandbox; no cluster is needed.

    ALGORITHM is NAME, NAME@VERSION, or the path of a package. Each PARAM is JSON, or text where
    it is none: an argument of its main. The value it returns is printed as JSON.

    \b
    maniple algorithm run ./build/kmeans-0.0.1.zip '[[0, 1], [9, 8]]' 2
    maniple algorithm run words --arg -v --file /in.txt=notes.txt --result /out.txt=words.txt
    """  # noqa: D301 - \b is click's mark
    from maniple.algorithm.call import Limits
    from maniple.algorithm.shelf import Shelf
    from maniple.runners.algorithm import run_package
    from maniple.runners.container_box import parse_memory

    usual = Limits()
    results = [_pair(text, "--result") for text in options["results"]]
    package = Shelf().find(name)
    answer = run_package(
        package,
        params=json.dumps([_param(word) for word in params]).encode(),
        arguments=list(options["arguments"]),
        files=dict(_given(text) for text in options["files"]),
        results=[there for there, _ in results],
        limits=Limits(
            seconds=options["time_limit"] or usual.seconds,
            memory=usual.memory if options["memory"] is None else parse_memory(options["memory"]),
        ),
    )
    printed = answer.stdout
    if answer.ok and answer.value != b"null":
        # what a program printed beside its value does not belong into a pipe that wants the value
        is_value = printed.strip() == answer.value
        _write(sys.stderr, b"" if is_value else printed)
        printed = answer.value + b"\n"
    _write(sys.stdout, printed)
    _write(sys.stderr, answer.stderr)
    for there, here in results:
        if there in answer.files:
            _keep(here, answer.files[there])
        elif answer.ok:
            click.echo(f"maniple: warning: it left no {there}", err=True)
    if answer.ok:
        return Exit.OK
    said = answer.error or answer.cause
    click.echo(f"maniple: {package.name}@{package.version} failed: {said}", err=True)
    return Exit.SOME_FAILED


@algorithm.command("add")
@click.argument("packages", nargs=-1, required=True, metavar="PACKAGE.zip...")
def add_packages(packages: tuple[str, ...]) -> None:
    """Keep packages where all commands of this user find them by name."""
    from maniple.algorithm.shelf import Shelf

    shelf = Shelf()
    for path in packages:
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            raise AlgorithmError(f"cannot read the package {path}: {error.strerror}") from None
        package = shelf.add(data, path)
        click.echo(f"added {package.name}@{package.version}")


@algorithm.command("list")
def list_packages() -> None:
    """List the algorithms that this machine knows by name."""
    from maniple.algorithm.shelf import Shelf

    shelf = Shelf()
    found = [
        (f"{name}@{version}", path)
        for name, versions in shelf.names().items()
        for version, path in versions.items()
    ]
    if not found:
        click.echo(f"no algorithms in {' or '.join(shelf.folders)}")
    width = max((len(name) for name, _ in found), default=0)
    for name, path in found:
        click.echo(f"{name:{width}}  {path}")


def _param(word: str) -> Any:
    try:
        return json.loads(word)
    except ValueError:
        return word


def _pair(text: str, option: str) -> tuple[str, str]:
    there, equals, here = text.partition("=")
    if not (there.startswith("/") and equals and here):
        raise UsageError(f"{option} {text!r}: write /PATH/THERE=PATH-HERE")
    return there, here


def _given(text: str) -> tuple[str, bytes]:
    there, here = _pair(text, "--file")
    try:
        with open(here, "rb") as file:
            return there, file.read()
    except OSError as error:
        raise UsageError(f"--file {text!r}: cannot read {here}: {error.strerror}") from None


def _keep(path: str, data: bytes) -> None:
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _write(stream: Any, data: bytes) -> None:
    stream.flush()
    stream.buffer.write(data)
    stream.flush()
