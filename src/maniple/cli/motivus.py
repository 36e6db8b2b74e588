"""The command `motivus` of the earlier platform, over what `maniple` does."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from maniple.cli.algorithm import (
    about_options,
    build_dir_option,
    build_package,
    clean_builds,
    make_project,
    manifest_option,
)
from maniple.cli.loopback import loopback
from maniple.errors import UsageError


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(package_name="maniple", message="motivus of maniple %(version)s")
def motivus() -> None:
    """Build algorithms, run a local cluster, publish.

    \b
    motivus new primes; cd primes     a Rust project
    motivus build                     build/primes-0.1.0.zip
    motivus loopback                  a cluster here: drivers need no account
    motivus push                      publish the version
    """  # noqa: D301 - \b is click's mark


@motivus.command()
@click.argument("name")
@about_options
def new(name: str, **about: str | None) -> None:
    """Make a Rust project NAME; asks for what the options do not say."""
    asked = {"description": "Short description"} | {
        key: key.replace("_", " ").replace("url", "URL").capitalize()
        for key in ("license", "author", "url", "upstream_url")
    }
    if sys.stdin.isatty():
        for key, question in asked.items():
            if about[key] is None:
                about[key] = click.prompt(question, default="", show_default=False)
    make_project(name, "rust", about)


@motivus.command()
@manifest_option
@build_dir_option
@click.option("--public", is_flag=True, help="A new algorithm: others may use it.")
@click.option("--cost", type=float, default=0.0, help="A new algorithm: what a use costs.")
@click.option(
    "--charge-schema",
    type=click.Choice(["PER_EXECUTION", "PER_MINUTE"]),
    default="PER_EXECUTION",
    help="A new algorithm: what is charged.",
)
def push(manifest: str, build_dir: str, public: bool, cost: float, charge_schema: str) -> None:  # noqa: FBT001
    """Publish the version that was built.

    The token is read from $PERSONAL_ACCESS_TOKEN or $MOTIVUS_PERSONAL_ACCESS_TOKEN. The registry
    is at $ALGORITHM_REPO_HOST, else at the host of $WEBSOCKET_URI, else the loop-back cluster.
    """
    from maniple.builders.manifest import read_manifest
    from maniple.cli.publish import Terms, push
    from maniple.driver.address import variables

    terms = Terms(public, cost, charge_schema)
    pushed = push(read_manifest(manifest), variables(), build_dir=build_dir, terms=terms)
    new_one = " (a new algorithm)" if pushed.is_new else ""
    click.echo(f"pushed {pushed.name}@{pushed.version} to {pushed.host}{new_one}")


@motivus.command()
@click.option("-t", "--threads", type=click.IntRange(1, 1000), help="Tasks at once.")
@click.option("--backend-host", metavar="HOST", help="The hub, HOST or HOST:PORT.")
@click.option("--no-tls", is_flag=True, help="Without TLS.")
@click.option("--token", metavar="TOKEN", help="Better in $APPLICATION_TOKEN: others see options.")
def worker(
    threads: int | None,
    backend_host: str | None,
    no_tls: bool,  # noqa: FBT001
    token: str | None,
) -> int:
    """Run tasks of a hub on this machine, in sandboxes, until Ctrl-C."""
    from maniple.minion.worker import run_workers
    from maniple.queues.hub_place import LOOPBACK_PORT

    if token:
        os.environ["MANIPLE_TOKEN"] = token
    if backend_host is None:
        url = os.environ.get("WEBSOCKET_URI") or f"localhost:{LOOPBACK_PORT}"
    elif "://" in backend_host:
        raise UsageError("--backend-host is HOST or HOST:PORT; --no-tls says which protocol")
    else:
        url = f"{'ws' if no_tls else 'wss'}://{backend_host}"
    return run_workers(url, threads or os.cpu_count() or 1)


motivus.add_command(build_package, "build")
motivus.add_command(clean_builds, "clean")
motivus.add_command(loopback, "loopback")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command; never returns."""
    from maniple.cli.main import run_to_exit

    run_to_exit(motivus, sys.argv[1:] if arguments is None else arguments, name="motivus")
