"""This module adds `dsacap verify` to the command line."""

import argparse
from pathlib import Path

_HELP = "score committed captions again, and compare every cell; exit status 1 if one differs"
_FOLDERS = "with table.csv, table.json and captions in rows/ (default: all in results/)"
_SPICE = (
    "parse new captions, 40 ms each, or leave SPICE out (default: where all were parsed before)"
)


def add_verb(verbs) -> None:
    """Add `verify` to the command line."""
    verify = verbs.add_parser("verify", help=_HELP)
    verify.add_argument("folders", type=Path, nargs="*", metavar="FOLDER", help=_FOLDERS)
    verify.add_argument("--spice", action=argparse.BooleanOptionalAction, help=_SPICE)
    verify.set_defaults(run=_verify)


def _verify(options: argparse.Namespace) -> bool:
    """Verify the tables; whether no cell differs."""
    from dsacap.verification.run import tables_in, verify

    return verify(options.folders or tables_in(Path("results")), options.spice)
