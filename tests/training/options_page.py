"""The page of options, docs/options.md, from the table of options.

``python -m tests.training.options_page > docs/options.md`` writes it again.
"""

from __future__ import annotations

from dtrain.cli.main import COMMANDS
from dtrain.cli.rows import OPTIONS
from dtrain.training.options import Option

HEAD = """\
# Options

Every option of the commands and of `dtrain.train`, from the table in
`dtrain/training/rows.py` and `dtrain/cli/rows.py`. In Python an option is a
parameter of `dtrain.train` with underscores, such as `learning_rate=0.1`; on the
command line it is `--learning-rate 0.1`. In parentheses: the default.

**Bits** marks the options whose value changes the bits of the result. A checkpoint is
resumed only with the same values of these.
"""


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    library = [option for option in OPTIONS if option.library]
    parts.append("## `dtrain.train`\n\n" + _table(library))
    for command, does in COMMANDS.items():
        rows = [option for option in OPTIONS if command in option.commands]
        parts.append(f"## `dtrain {command}`\n\nTo {does}.\n\n" + _table(rows, "--"))
    return "\n".join(parts)


def _table(rows: list[Option], prefix: str = "") -> str:
    lines = ["| option | | bits |", "|---|---|---|"]
    for option in rows:
        name = f"{option.flag} {option.metavar}".strip() if prefix else option.name
        name = name.replace("|", "\\|")
        text = option.text if prefix else option.python_text
        text = text.replace("|", "\\|")
        lines.append(f"| `{name}` | {text} | {'yes' if option.bits else ''} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
