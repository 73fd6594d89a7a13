"""Write a data set as a folder of .npy files, which ranks map and do not read.

So a data set may be larger than memory. Text becomes codes, with a file of the texts.
Any program reads the folder as it reads DATA.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from dtrain.cli import options, sources
from dtrain.data.convert import Converted, convert
from dtrain.problem.agreement import together
from dtrain.report.table import print_message
from dtrain.training.options import PATH
from dtrain.worlds.world import World

EXAMPLE = "  dtrain convert digits digits-folder"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    options.add_data(parser, required=True)
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        type=options.parser_of(PATH),
        help="a new folder for the .npy files",
    )
    options.add_options(parser, "convert")


def run(world: World, args: Namespace) -> int:
    """Convert on rank 0; return the exit code."""
    found = None
    with together(world):
        if world.rank == 0:
            data = sources.load_data(args.data, None, separator=args.separator)
            found = convert(data, args.folder)
    if found is not None:
        _say(found, args.folder)
    return 0


def _say(found: Converted, folder: str) -> None:
    for name, why in found.left_out.items():
        print_message(f"column {name!r} is left out: {why}")
    rows = max(found.columns.values())
    print(
        f"{folder}: {len(found.columns)} columns of {rows:,} rows, "
        f"{found.size / 1e6:,.1f} MB"
    )
