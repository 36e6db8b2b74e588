"""Which node a job goes to. Decides; asks nothing of the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from maniple.errors import UsageError

if TYPE_CHECKING:
    from maniple.network.marvelo.jobs import BaseJob
    from maniple.network.marvelo.nodes import BaseNode

CLIENT: Final = "client"
_LATER: Final = (
    "nodes on other machines are not in this version; use LocalNode() in NODES, or the command"
    " simulate"
)


class NodeFacts(NamedTuple):
    """What is known about a node when a job is placed.

    Attributes:
        ip: of the node.
        cpu_free: share of the processors that nobody uses, 0 to 1; less for each job placed there.
        memory_free: share of the memory, 0 to 1.
        swap_used: share of the swap space, 0 to 1.
        link: quality of the links to the nodes of the job's neighbours, 0 to 1 on average.
        processors: how many there are.
        jobs: placed there already.
    """

    ip: str
    cpu_free: float = 1.0
    memory_free: float = 1.0
    swap_used: float = 0.0
    link: float = 1.0
    processors: int = 1
    jobs: int = 0


def place(
    jobs: Sequence[BaseJob], nodes: Sequence[BaseNode], facts: Mapping[str, NodeFacts]
) -> dict[int, BaseNode | None]:
    """Give each job a node: its DEFAULT_NODE, else one of its most wanted group that has room.

    Args:
        jobs: in the order in which they are placed.
        nodes: all that are known.
        facts: by ip, of the nodes that are active.

    Returns:
        The node of each job by the job's id; None: the client itself.

    Raises:
        UsageError: a job has nowhere to go.
    """
    known = dict(facts)
    active = [node for node in nodes if node.ip in known]
    placed: dict[int, BaseNode | None] = {}
    for job in jobs:
        node = None if job.LOCAL else _choose(job, nodes, active, known)
        placed[job.id] = node
        if node is not None:
            now = known[node.ip]
            known[node.ip] = now._replace(
                jobs=now.jobs + 1, cpu_free=max(0.0, now.cpu_free - 1 / now.processors)
            )
    return placed


def _choose(
    job: BaseJob,
    nodes: Sequence[BaseNode],
    active: Sequence[BaseNode],
    known: Mapping[str, NodeFacts],
) -> BaseNode:
    def has_room(node: BaseNode) -> bool:
        return not node.MAX_JOBS or known[node.ip].jobs < node.MAX_JOBS

    wanted = job.DEFAULT_NODE
    if wanted is not None:
        for node in active:
            if node.ip == wanted and has_room(node):
                return node
        if not any(node.ip == wanted for node in nodes):
            names = ", ".join(node.ip for node in nodes) or "none"
            raise UsageError(
                f"job {job.name} has DEFAULT_NODE {wanted}, which is not in NODES ({names})"
            )
        if not any(node.ip == wanted for node in active):
            raise UsageError(f"job {job.name} belongs on {wanted}: {_LATER}")
    for group in job.groups:
        best = [node for node in active if group in node.groups and has_room(node)]
        if best:
            return max(best, key=lambda node: job.preference(known[node.ip]))
    raise UsageError(_nowhere(job, nodes, active))


def _nowhere(job: BaseJob, nodes: Sequence[BaseNode], active: Sequence[BaseNode]) -> str:
    groups = ", ".join(job.groups)
    fitting = [node for node in nodes if set(node.groups) & set(job.groups)]
    if not nodes:
        return f"job {job.name} has no node: NODES is empty; write NODES = [LocalNode()]"
    if not fitting:
        there = ", ".join(dict.fromkeys(g for node in nodes for g in node.groups))
        return f"job {job.name} wants GROUPS {groups}: no node has it (there are {there})"
    if any(node in active for node in fitting):
        return f"job {job.name} finds no room: each node of {groups} has its MAX_JOBS"
    names = ", ".join(node.ip for node in fitting)
    return f"job {job.name} belongs on {names}: {_LATER}"
