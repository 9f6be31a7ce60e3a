"""Filters of ``medfuse sources list``: options -> which rows are wanted."""

from __future__ import annotations

import argparse
import logging
import math
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from medfuse.cli.source_rows import Row

_log = logging.getLogger("medfuse")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def add_filters(listing: argparse.ArgumentParser) -> None:
    """Declare an option for each column."""
    listing.add_argument("--filter", metavar="GLOB", help="name, as in 'mobilenet*'")
    listing.add_argument("--plugin", metavar="NAME", help="of one plugin only")
    listing.add_argument("--dims", type=int, choices=(2, 3), help="2D or 3D networks only")
    listing.add_argument("--width", type=width_range, metavar="N", help="as in 512, or 512-1024")
    listing.add_argument("--max-parameters", type=count, metavar="N", help="as in 10M")
    listing.add_argument("--max-macs", type=count, metavar="N", help="multiply-adds, as in 1G")
    listing.add_argument("--weights", metavar="GLOB", help="name of the weights, as in '*in1k'")
    listing.add_argument("--domain", metavar="TEXT", help="domain that holds this text")
    listing.add_argument("--license", metavar="GLOB", help="license, as in 'Apache*'")


def wanted(rows: Iterable[Row], args: argparse.Namespace) -> list[Row]:
    """Return the rows that fit; what is unknown of a family never excludes it.

    A network of which nothing is recorded is left out where its size is asked for, and counted.
    """
    fitting = [row for row in rows if _fits(row, args)]
    if args.width is None and args.max_parameters is None and args.max_macs is None:
        return fitting
    unknown = [row for row in fitting if row.width is None and row.dims != 0]
    if unknown:
        _log.warning(
            "%d sources left out: nothing was measured of them. See: medfuse sources show %s",
            len(unknown),
            unknown[0].source,
        )
    return [row for row in fitting if row.dims == 0 or _is_small_enough(row, args)]


def count(text: str) -> int:
    """Return a number such as ``500k``, ``10M`` or ``1.5G``.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg]?)", text.strip().lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a number as 500k, 10M or 1.5G")
    value = float(found[1]) * _UNITS[found[2]]
    if value == math.inf:
        raise argparse.ArgumentTypeError("a number that no network reaches, expected one as 10M")
    return int(value)


def width_range(text: str) -> tuple[int, float]:
    """Return smallest and largest width of ``512``, ``512-1024``, ``512-`` or ``-1024``.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    found = re.fullmatch(r"(\d+)|(\d*)-(\d*)", text.strip())
    if found is None or text.strip() == "-":
        raise argparse.ArgumentTypeError(f"{text!r}, expected a width as 512, or 512-1024")
    if found[1]:
        return int(found[1]), int(found[1])
    low, high = int(found[2] or 0), int(found[3]) if found[3] else math.inf
    if low > high:
        raise argparse.ArgumentTypeError(f"{text!r}, expected the smaller width first")
    return low, high


def _fits(row: Row, args: argparse.Namespace) -> bool:
    if args.plugin and row.plugin != args.plugin:
        return False
    if row.dims == 0:
        return True
    return (
        args.dims in (None, row.dims)
        and fnmatchcase(row.weights.lower(), (args.weights or "*").lower())
        and (args.domain or "").lower() in row.domain.lower()
        and fnmatchcase(row.license.lower(), (args.license or "*").lower())
    )


def _is_small_enough(row: Row, args: argparse.Namespace) -> bool:
    if row.width is None or row.parameters is None or row.macs is None:
        return False
    low, high = args.width or (0, math.inf)
    small = row.parameters <= (args.max_parameters or math.inf)
    return low <= row.width <= high and small and row.macs <= (args.max_macs or math.inf)
