"""Cools plates of six metals on a cluster, and compares each with what theory says.

Usage: driver.py [FOLDER for the plates]. First, in this folder: `maniple algorithm build`, and
then `maniple loopback` in another window.
"""

import asyncio
import math
import sys

from motivus.client import Client

# thermal diffusivity at 25 degrees C, in cm^2/s
METALS = {
    "silver": 1.66,
    "copper": 1.11,
    "aluminium": 0.97,
    "brass": 0.34,
    "iron": 0.23,
    "steel": 0.042,
}
POINTS = 63
SECONDS = 0.05


async def main(folder: str) -> None:
    motivus = await Client.connect()
    tasks = [
        motivus.call_async(
            {
                "algorithm": "heat",
                "params": [POINTS, diffusivity, SECONDS],
                "result_files": {"/plate.csv": f"{folder}/{metal}.csv"},
            }
        )
        for metal, diffusivity in METALS.items()
    ]
    print("metal        middle    theory    steps")
    for (metal, diffusivity), plate in zip(
        METALS.items(), await motivus.barrier(tasks), strict=True
    ):
        # the first mode of a unit square decays as exp(-2 pi^2 alpha t)
        theory = math.exp(-2 * math.pi**2 * diffusivity * SECONDS)
        print(f"{metal:10}  {plate['middle']:.6f}  {theory:.6f}  {plate['steps']:7}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "plates"))
