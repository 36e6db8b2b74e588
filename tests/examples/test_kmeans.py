"""The demo of algorithms, as a user runs it."""

import subprocess
import sys
from pathlib import Path

KMEANS = Path(__file__).parents[2] / "examples" / "kmeans-c"


def test_the_demo_groups_the_ten_points_on_a_cluster(tmp_path):
    done = subprocess.run(
        [sys.executable, str(KMEANS / "demo.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[0, 0, 0, 0, 0, 1, 1, 1, 1, 1]" in done.stdout
    assert done.stderr == ""
