"""Prices an option with 200 tasks on a cluster, and draws how the estimate settles.

Usage: driver.py [PICTURE]. Needs matplotlib. First, in this folder: `maniple algorithm build`, and
then `maniple loopback` in another window.
"""

import asyncio
import math
import sys
from itertools import accumulate
from statistics import NormalDist

from motivus.client import Client

TASKS = 200
PATHS = 50_000
SPOT, STRIKE, RATE, VOLATILITY, YEARS = 100.0, 105.0, 0.03, 0.2, 1.0


def black_scholes() -> float:
    """What the simulation must come to (Black and Scholes, 1973)."""
    spread = VOLATILITY * math.sqrt(YEARS)
    d1 = (math.log(SPOT / STRIKE) + (RATE + VOLATILITY**2 / 2) * YEARS) / spread
    normal = NormalDist().cdf
    return SPOT * normal(d1) - STRIKE * math.exp(-RATE * YEARS) * normal(d1 - spread)


def draw(sums: list[tuple[int, float, float]], exact: float, picture: str) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    paths = [count for count, _, _ in sums]
    price = [total / count for count, total, _ in sums]
    error = [
        math.sqrt((squares / count - (total / count) ** 2) / count)
        for count, total, squares in sums
    ]
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    low = [p - 2 * e for p, e in zip(price, error, strict=True)]
    high = [p + 2 * e for p, e in zip(price, error, strict=True)]
    axes.fill_between(paths, low, high, alpha=0.3, label="two standard errors")
    axes.plot(paths, price, label="simulated")
    axes.axhline(exact, color="black", linestyle="--", label="Black and Scholes")
    axes.set(xlabel="paths", ylabel="price of the option")
    axes.legend()
    figure.savefig(picture, dpi=150)
    plt.close(figure)


async def main(picture: str) -> None:
    motivus = await Client.connect()
    tasks = [
        motivus.call_async(
            {
                "algorithm": "option",
                "params": [seed, PATHS, SPOT, STRIKE, RATE, VOLATILITY, YEARS],
            }
        )
        for seed in range(TASKS)
    ]
    results = await motivus.barrier(tasks)
    sums = list(accumulate(results, lambda a, b: [x + y for x, y in zip(a, b, strict=True)]))
    paths, total, squares = sums[-1]
    price = total / paths
    error = math.sqrt((squares / paths - price**2) / paths)
    exact = black_scholes()
    print(f"{len(results)} tasks, {paths:,} paths: {price:.4f} +- {error:.4f}; exact {exact:.4f}")
    draw(sums, exact, picture)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "option.png"))
