"""Every example of the README and of docs/ runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHOWN_ONLY = {"text", "yaml", "dockerfile", "json"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_of_a_page_runs_in_order_in_one_folder(page, tmp_path):
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    for name in list(environment):
        if name.startswith(("MANIPLE_", "MINION_")):
            del environment[name]
    for number, (language, text) in enumerate(BLOCK.findall(page.read_text())):
        if language in SHOWN_ONLY:
            continue
        assert language in {"sh", "python"}, f"{page.name}: what is ```{language}?"
        if language == "sh":
            command = ["bash", "-euo", "pipefail", "-c", text]
        else:
            script = tmp_path / f"example{number}.py"
            script.write_text(text)
            command = [sys.executable, str(script)]
        ran = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert ran.returncode == 0, f"{text}\n{ran.stdout}\n{ran.stderr}"
        assert "Traceback" not in ran.stderr


def test_the_pages_link_to_files_that_exist():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists() or target.startswith("http"), (
                f"{page.name}: {target}"
            )
