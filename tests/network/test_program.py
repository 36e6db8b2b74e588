"""Programs as jobs: in C, in shell, with paths or with descriptors."""

import shutil
import subprocess

import pytest

from maniple.errors import UsageError
from maniple.network import Fixed, Network, Pipe, Program
from maniple.network.live.run import JobError
from networks import counting, run

C_SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* reads doubles, writes their running sum; an own rate: one block in, one out */
int main(int argc, char **argv) {
    FILE *in = NULL, *out = NULL;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "-i")) in = fopen(argv[i + 1], "rb");
        if (!strcmp(argv[i], "-o")) out = fopen(argv[i + 1], "wb");
        if (!strcmp(argv[i], "--in")) in = fdopen(atoi(argv[i + 1]), "rb");
        if (!strcmp(argv[i], "--out")) out = fdopen(atoi(argv[i + 1]), "wb");
    }
    if (!in || !out) return 3;
    double value, sum = 0;
    while (fread(&value, sizeof value, 1, in) == 1) {
        sum += value;
        fwrite(&sum, sizeof sum, 1, out);
    }
    fclose(out);
    return 0;
}
"""


@pytest.fixture(scope="session")
def summing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("c")
    (folder / "sum.c").write_text(C_SOURCE)
    subprocess.run(["gcc", "-O2", "-o", folder / "sum", folder / "sum.c"], check=True)
    return str(folder / "sum")


def doubles(number):
    import struct

    def give():
        for value in range(number):
            yield struct.pack("d", value)

    return give


def show(block):
    import struct

    print(int(struct.unpack("d", block)[0]))


@pytest.mark.parametrize("descriptors", [False, True])
@pytest.mark.parametrize("number", [0, 1, 5000])
def test_a_c_program_works_between_python_jobs(summing, descriptors, number):
    flags = {"input_flag": "--in", "output_flag": "--out"} if descriptors else {}
    network = Network()
    network.add(doubles(number), outputs=[Pipe("x", encoding=Fixed(8))], name="count")
    network.add(
        Program(
            [summing],
            [Pipe("x", encoding=Fixed(8))],
            [Pipe("y", encoding=Fixed(8))],
            descriptors=descriptors,
            **flags,
        )
    )
    network.add(show, inputs=[Pipe("y", encoding=Fixed(8))])
    sums = [int(line.split()[-1]) for line in run(network).splitlines()]
    assert sums == [value * (value + 1) // 2 for value in range(number)]


def test_a_shell_program_answers_lines_with_other_lines():
    network = Network()
    network.add(
        lambda: (str(n) for n in range(10)), outputs=[Pipe("x", encoding="lines")], name="s"
    )
    script = (
        'while read -r line; do [ $((line % 3)) = 0 ] && echo "got $line"; done <"$2" >"$4"; true'
    )
    program = Program(
        ["sh", "-c", script, "sh"],
        [Pipe("x", encoding="lines")],
        [Pipe("y", encoding="lines")],
        name="filter",
    )
    network.add(program)
    network.add(print, inputs=[Pipe("y", encoding="lines")], name="p")
    shown = [line.partition("| ")[2] for line in run(network).splitlines()]
    assert shown == ["got 0", "got 3", "got 6", "got 9"]


def test_a_program_may_be_a_source_or_a_sink(tmp_path):
    network = Network()
    network.add(Program(["sh", "-c", 'seq 1000 >"$2"', "sh"], outputs=[Pipe("n", encoding="json")]))
    network.add(
        lambda n: n * 2, inputs=[Pipe("n", encoding="json")], outputs=[Pipe("m", encoding="json")]
    )
    script = f'cat "$2" >{tmp_path}/out'
    network.add(Program(["sh", "-c", script, "sh"], [Pipe("m", encoding="json")], name="save"))
    run(network)
    assert [int(x) for x in (tmp_path / "out").read_text().split()] == list(range(2, 2002, 2))


def test_a_program_that_stops_reading_ends_its_writer():
    def endless():
        while True:
            yield "y"

    network = Network()
    network.add(endless, outputs=[Pipe("y", encoding="lines")])
    network.add(
        Program(
            ["sh", "-c", 'head -n 3 "$2" >"$4"', "sh"],
            [Pipe("y", encoding="lines")],
            [Pipe("z", encoding="lines")],
            name="head",
        )
    )
    network.add(print, inputs=[Pipe("z", encoding="lines")], name="p")
    assert len(run(network).splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sh", "-c", "echo why >&2; exit 3"], "job sh failed: .*sh ended with exit status 3"),
        (["sh", "-c", "kill -9 $$"], "sh was killed by SIGKILL"),
        (["/no/such/program"], "cannot start /no/such/program: No such file"),
    ],
)
def test_a_program_that_fails_ends_the_network(words, said):
    network = Network()
    network.add(counting(3), outputs=[Pipe("n", encoding="json")], name="count")
    network.add(Program(words, [Pipe("n", encoding="json")]))
    with pytest.raises(JobError, match=said):
        run(network)


def test_a_program_that_ends_in_the_middle_of_a_block_is_an_error():
    network = Network()
    network.add(
        Program(["sh", "-c", 'printf abc >"$2"', "sh"], outputs=[Pipe("x", encoding=Fixed(8))])
    )
    network.add(print, inputs=[Pipe("x", encoding=Fixed(8))], name="p")
    with pytest.raises(JobError, match="3 bytes of a block of 8"):
        run(network)


def test_a_program_without_a_command_is_said():
    with pytest.raises(UsageError, match="a program needs a command"):
        Program("")


def test_a_large_flow_goes_through_a_program():
    if shutil.which("cat") is None:
        pytest.skip("no cat")
    network = Network()
    size = 65_536

    def blocks():
        for number in range(500):
            yield number.to_bytes(4, "little") * (size // 4)

    class Check:
        number = 0

    def check(block):
        assert int.from_bytes(block[:4], "little") == Check.number
        Check.number += 1
        if Check.number == 500:
            print("all")

    network.add(blocks, outputs=[Pipe("a", encoding=Fixed(size))])
    network.add(
        Program(
            ["sh", "-c", 'cat "$2" >"$4"', "sh"],
            [Pipe("a", encoding=Fixed(size))],
            [Pipe("b", encoding=Fixed(size))],
            name="cat",
        )
    )
    network.add(check, inputs=[Pipe("b", encoding=Fixed(size))])
    assert "all" in run(network)
