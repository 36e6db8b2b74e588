"""Pictures of a network: DOT, Mermaid, files through graphviz, a window through matplotlib."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, Final

from maniple.errors import ManipleError, StorageError, UsageError
from maniple.network.graph import Network
from maniple.network.job import Job

FORMATS: Final = ("svg", "pdf", "png")
_SECONDS: Final = 60
_WINDOWLESS: Final = frozenset({"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"})


def dot(network: Network, rates: Mapping[str, float] | None = None) -> str:
    """Describe a network in graphviz's language.

    Args:
        network: may be incomplete; pipes without an end hang in the air.
        rates: blocks a second of each pipe, where it runs.
    """
    lines = [
        f"digraph {_quoted(network.name)} {{",
        '  rankdir=LR; fontname="Helvetica"; fontsize=12; labeljust=l; style=rounded;',
        '  node [shape=box style="rounded,filled" fillcolor="#f4f1ea" fontname="Helvetica"];',
        '  edge [fontname="Helvetica" fontsize=10];',
    ]
    groups: dict[str, list[int]] = {}
    for place, job in enumerate(network.jobs):
        groups.setdefault(group_of(job), []).append(place)
    for number, (group, places) in enumerate(groups.items()):
        nodes = [f"j{place} [label={_quoted(network.jobs[place].name)}];" for place in places]
        if group:
            lines.append(f"  subgraph cluster_{number} {{")
            lines.append(f"    label={_quoted(group)}; color=gray60; fontcolor=gray30;")
            lines += [f"    {node}" for node in nodes]
            lines.append("  }")
        else:
            lines += [f"  {node}" for node in nodes]
    for name, writer, reader, optional in _ends(network):
        label = name if rates is None or name not in rates else f"{name}\\n{_rate(rates[name])}"
        style = " style=dashed" if optional else ""
        ends = []
        for end, side in ((writer, "w"), (reader, "r")):
            if end is None:
                lines.append(f'  {side}_{len(lines)} [label="?" shape=plaintext fillcolor=white];')
                ends.append(f"{side}_{len(lines) - 1}")
            else:
                ends.append(f"j{end}")
        lines.append(f"  {ends[0]} -> {ends[1]} [label={_quoted(label)}{style}];")
    return "\n".join([*lines, "}", ""])


def mermaid(network: Network, rates: Mapping[str, float] | None = None) -> str:
    """Describe a network as a Mermaid flowchart, for Markdown."""
    lines = ["flowchart LR"]
    groups: dict[str, list[int]] = {}
    for place, job in enumerate(network.jobs):
        groups.setdefault(group_of(job), []).append(place)
    for number, (group, places) in enumerate(groups.items()):
        nodes = [f'j{place}["{_plain(network.jobs[place].name)}"]' for place in places]
        if group:
            lines += [f'  subgraph g{number}["{_plain(group)}"]']
            lines += [f"    {node}" for node in nodes]
            lines += ["  end"]
        else:
            lines += [f"  {node}" for node in nodes]
    for name, writer, reader, optional in _ends(network):
        label = _plain(name)
        if rates is not None and name in rates:
            label += f" {_rate(rates[name])}"
        arrow = "-.->" if optional else "-->"
        left = f"j{writer}" if writer is not None else f'w{reader}["?"]'
        right = f"j{reader}" if reader is not None else f'r{writer}["?"]'
        lines.append(f'  {left} {arrow}|"{label}"| {right}')
    return "\n".join([*lines, ""])


def draw(network: Network, path: str, rates: Mapping[str, float] | None = None) -> None:
    """Write a picture; the ending says which kind: svg, pdf, png, dot, or mmd for Mermaid.

    Raises:
        UsageError: another ending.
        ManipleError: graphviz is not installed, or could not draw.
        StorageError: the file cannot be written.
    """
    kind = path.rpartition(".")[2].lower()
    try:
        if kind in {"dot", "gv", "mmd"}:
            text = mermaid(network, rates) if kind == "mmd" else dot(network, rates)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            return
        if kind not in FORMATS:
            raise UsageError(f"cannot draw {path}: end it in .svg, .pdf, .png, .dot or .mmd")
        data = render(network, kind, rates)
        with open(path, "wb") as binary:
            binary.write(data)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from None


def render(network: Network, kind: str, rates: Mapping[str, float] | None = None) -> bytes:
    """Draw with graphviz; return the file's content."""
    try:
        done = subprocess.run(
            ["dot", f"-T{kind}"],
            input=dot(network, rates).encode(),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise ManipleError(
            "pictures need graphviz: apt-get install graphviz (or take .dot or .mmd)"
        ) from None
    except subprocess.TimeoutExpired:
        raise ManipleError(f"graphviz did not end within {_SECONDS} s") from None
    if done.returncode:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())
        raise ManipleError(f"graphviz could not draw: {said}")
    return done.stdout


def show(network: Network, rates: Mapping[str, float] | None = None) -> None:
    """Open a window with the picture, through matplotlib.

    Raises:
        ManipleError: matplotlib or graphviz is not installed, or there is no screen.
    """
    try:
        import matplotlib as mpl
        import matplotlib.image
        from matplotlib import pyplot as plt
    except ImportError:
        raise ManipleError("a window needs matplotlib: pip install matplotlib") from None
    from io import BytesIO

    data = render(network, "png", rates)
    if mpl.get_backend().lower() in _WINDOWLESS:
        raise ManipleError(
            f"no window can be opened here (matplotlib has the backend {mpl.get_backend()}):"
            " draw into a file instead"
        )
    image: Any = matplotlib.image.imread(BytesIO(data))
    figure = plt.figure(network.name, figsize=(image.shape[1] / 100, image.shape[0] / 100))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(image)
    axes.set_axis_off()
    plt.show()


def group_of(job: Job) -> str:
    """The group that a picture puts a job into: its most wanted one."""
    groups: str | Sequence[str] = job.GROUPS
    return groups if isinstance(groups, str) else (groups[0] if groups else "")


def _ends(network: Network) -> list[tuple[str, int | None, int | None, bool]]:
    found: dict[str, list[Any]] = {}
    for place, job in enumerate(network.jobs):
        for side, pipes in ((0, job.outputs), (1, job.inputs)):
            for pipe in pipes:
                ends = found.setdefault(pipe.name, [None, None, False])
                ends[side] = place
                ends[2] = ends[2] or pipe.optional
    return [(name, *ends) for name, ends in found.items()]


def _rate(rate: float) -> str:
    return f"{rate:.3g}/s" if rate < 1000 else f"{rate / 1000:.3g} k/s"  # noqa: PLR2004 - as SI has it


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'


def _plain(text: str) -> str:
    return text.replace('"', "#quot;")
