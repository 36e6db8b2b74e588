"""What `maniple network new` makes: a small network, its functions, and their test."""

from __future__ import annotations

from typing import Final

FILES: Final[dict[str, str]] = {
    "network.yaml": """\
# Run it:   maniple network simulate network.yaml
# Draw it:  maniple network graph network.yaml -o network.svg
name: doubles
jobs:
  count: {run: "jobs:count", with: {limit: 10}, outputs: [numbers], rewinds: true}
  double: {run: "jobs:double", inputs: [numbers], outputs: [doubled]}
  save: {csv: doubled.csv, inputs: [doubled]}
pipes:
  numbers: {blocks: 1000}   # the writer waits while so many are on their way
""",
    "jobs.py": '''\
"""The jobs of the network: plain functions. A generator is a source."""

from collections.abc import Iterator


def count(limit: int) -> Iterator[int]:
    """Give the numbers below the limit."""
    yield from range(limit)


def double(number: int) -> int:
    """Compute on one block of each input; return one value for the output."""
    return 2 * number
''',
    "test_jobs.py": '''\
"""Run it:  maniple network test"""

from jobs import count, double


def test_double() -> None:
    assert [double(number) for number in count(3)] == [0, 2, 4]
''',
}
