"""Work on many items. Owns where it runs (here, in processes, on Ray) and what a crash costs; not what the work is.

`map` is for a function that we trust with its items: what goes wrong ends the loop. `run` is for a stage, which may be
given limits: then it works in a child process, and an item that crashes it, hangs or eats the memory is `Lost` alone.
"""

from worldtube.workers.guard import Guard, Limits, Lost, Stage
from worldtube.workers.pool import WorkerError, map, num_cores
from worldtube.workers.stages import EXECUTORS, run

__all__ = [
    "EXECUTORS",
    "Guard",
    "Limits",
    "Lost",
    "Stage",
    "WorkerError",
    "map",
    "num_cores",
    "run",
]
