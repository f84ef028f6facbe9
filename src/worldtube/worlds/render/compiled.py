"""How the ray caster is compiled, and when what numba keeps on disk is stale.

numba looks at nothing but the file of the function that it keeps: a change in a neighbour would go unseen. So only
the outermost function is kept, under a key in which every file of this folder has a share (`STAMP`).
"""

import functools
import zlib
from pathlib import Path

from numba import njit

fast = njit(fastmath=True, nogil=True, error_model="numpy")
kept = njit(cache=True, nogil=True, error_model="numpy")

STAMP = functools.reduce(
    lambda stamp, path: zlib.crc32(path.read_bytes(), stamp),
    sorted(Path(__file__).parent.glob("*.py")),
    0,
)
"""Changes with every change of the sources."""
