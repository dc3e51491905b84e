"""Dask: tasks in memory. dask_queue.py JOBS"""

import sys
import time

from distributed import Client, LocalCluster, wait


def main():
    count = int(sys.argv[1])
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None) as cluster, \
            Client(cluster) as client:
        began = time.monotonic()
        tasks = client.map(lambda n: None, range(count), pure=False)
        wait(tasks)
        rate = count / (time.monotonic() - began)
        print(f"Dask: tasks given, run and ended: {rate:.0f} a second (nothing is kept)")


if __name__ == "__main__":
    main()
