"""Counts the words of a text on a cluster; two files of results land beside it.

Usage: driver.py [TEXT [FOLDER]]. First, in this folder: `maniple algorithm build`, and then
`maniple loopback` in another window.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from motivus.client import Client

HERE = Path(__file__).parent


async def count(text: str, folder: str) -> dict[str, Any]:
    motivus = await Client.connect()
    task = motivus.call_async(
        {
            "algorithm": "wordcount",
            "arguments": "/texts/text.txt 5",
            "preload_files": {"/texts/text.txt": motivus.read_file(text)},
            "result_files": {
                "/results/words.csv": f"{folder}/words.csv",
                "/results/lengths.csv": f"{folder}/lengths.csv",
            },
        }
    )
    return await motivus.select_task(task)


def main(text: str = str(HERE / "text.txt"), folder: str = "results") -> None:
    summary = asyncio.run(count(text, folder))
    print(f"{summary['words']} words, {summary['different']} different and uncommon ones")
    print(Path(folder, "words.csv").read_text())


if __name__ == "__main__":
    main(*sys.argv[1:])
