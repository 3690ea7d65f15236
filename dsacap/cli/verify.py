"""The verb `verify`."""

import argparse
from pathlib import Path

from dsacap.cli.contents import Contents

_HELP = "score committed captions again, and compare every cell; exit status 1 if one differs"
_FOLDERS = "folder with table.csv, table.json and captions in rows/ (default: all in results/)"
_SPICE = "parse new captions (40 ms each), or leave SPICE out (default: only parsed rows get SPICE)"


def add_verb(contents: Contents) -> None:
    """Add `verify` to the command line."""
    verify = contents.add_parser("verify", _HELP, run=_verify)
    verify.add_argument("folders", type=Path, nargs="*", metavar="FOLDER", help=_FOLDERS)
    verify.add_argument("--spice", action=argparse.BooleanOptionalAction, help=_SPICE)


def _verify(options: argparse.Namespace) -> int:
    """Verify the tables; return 1 if a cell differs."""
    from dsacap.verification.run import tables_in, verify

    return int(not verify(options.folders or tables_in(Path("results")), options.spice))
