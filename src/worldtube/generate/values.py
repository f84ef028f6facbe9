"""What callers write as Python values of one type. Owns the sentences for values of a wrong type; knows no limits."""

import operator
from typing import Any

from worldtube.errors import RequestError


def as_integer(name: str, value: Any) -> int:
    """Return a whole number of any library as a Python integer.

    Raises:
        RequestError: anything else, `True` and `2.0` included.
    """
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise RequestError(f"{name} must be a whole number, got {value!r}")


def as_number(name: str, value: Any) -> float:
    """Return a number of any library as a Python float.

    Raises:
        RequestError: anything else, `"4"` included.
    """
    try:
        if not isinstance(value, bool | str | bytes):
            return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # tensors raise the last one
        pass
    raise RequestError(f"{name} must be a number, got {value!r}")


def as_flag(name: str, value: Any) -> bool:
    """Return True or False, of NumPy too, as a Python boolean. Raises RequestError for anything else."""
    if type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise RequestError(f"{name} must be True or False, got {value!r}")


def as_text(name: str, value: Any) -> str:
    """Return a string. Raises RequestError for anything else."""
    if isinstance(value, str):
        return value
    raise RequestError(f"{name} must be a string, got {value!r}")
