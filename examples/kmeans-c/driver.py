"""k-means in C on the ten points that Motivus' first driver had, for a growing number of clusters.

Start a cluster with `maniple loopback`, or set WEBSOCKET_URI; build with `maniple algorithm build`.
"""

import asyncio
from pathlib import Path

import maniple

PACKAGE = str(Path(__file__).parent / "build" / "kmeans-c-0.0.1.zip")
DATA = [
    [-2.7825343, -1.7604825, -5.5550113, -2.9752946, -2.7874138],
    [-2.9847919, -3.8209332, -2.1531757, -2.2710119, -2.3582877],
    [-3.0109320, -2.2366132, -2.8048492, -1.2632331, -4.5755581],
    [-2.8432186, -1.0383805, -2.2022826, -2.7435962, -2.0013399],
    [-2.6638082, -3.5520086, -1.3684702, -2.1562444, -1.3186447],
    [1.7409171, 1.9687576, 4.7162628, 4.5743537, 3.7905611],
    [3.2932369, 2.8508700, 2.5580937, 2.0437325, 4.2192562],
    [2.5843321, 2.8329818, 2.1329531, 3.2562319, 2.4878733],
    [2.1859638, 3.2880048, 3.7018615, 2.3641232, 1.6281994],
    [2.6201773, 0.9006588, 2.6774097, 1.8188620, 1.6076493],
]


async def main() -> None:
    """Send a task for each number of clusters, and print whom each point belongs to."""
    async with maniple.connect() as cluster:
        print(await cluster.run(PACKAGE, DATA, 2))
        async for labels in cluster.map(PACKAGE, [(DATA, clusters) for clusters in (3, 4, 5)]):
            print(labels)


asyncio.run(main())
