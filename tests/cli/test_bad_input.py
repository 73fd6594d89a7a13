"""Bad input: exit code 2, one clear message, no frames of ours, nothing left behind."""

import json
import re

import numpy as np
import pytest

from dtrain.checkpoint.output import save
from dtrain.cli.main import COMMANDS
from dtrain.data.gaps import POLICIES
from dtrain.descent import losses, optimizers, schedules
from dtrain.engine.engine import BACKENDS
from dtrain.engine.execution.models import EXECUTIONS
from dtrain.host.pinning import CHOICES
from dtrain.tracing.weights import DTYPES
from dtrain.training.rows import ON_NONFINITE
from dtrain.zoo import DATA, ENTRIES
from tests.cli.conftest import options_of

LINE = ["train", "model.py:line"]
NET = ["train", "model.py:net"]

BAD_FILES = {
    "bars.csv": "p|q|t\n1|2|3\n",
    "hash.csv": "# p,q,t\n1,2,3\n",
    "text.csv": "p,q,t\n1,2,3\n4,5,six\n",
    "short.csv": "p,t\n1,2\n3\n",
    "hole.csv": "p,t\n1,2\n,4\n",
    "nan.csv": "p,t\n1,2\n3,4\nnan,6\n",
    "inf.csv": "p,t\n1,2\n3,4\n5,-inf\n",
    "empty.csv": "",
    "header.csv": "p,t\n",
    "numbers.csv": "1,2\n3,4\n",
    "twice.csv": "p,p,t\n3,4,5\n",
    "gaps.csv": "p,t\n1,\nNA,2\n",
    "words.csv": "p,t\n1,1\ntwo,2\n",
    "labels.csv": "p,t\n1,2\n3,0\n",
    "damaged.npz": "PK no zip at all",
    "data.txt": "p t\n1 2\n",
    "syntax.py": "def f(:\n    pass\n",
    "name.py": "from dtrain import program\nx = undefined_name\n",
    "wants.py": "import no_such_module_anywhere\n",
    "exits.py": "import sys\nsys.exit(3)\n",
    "deep.py": "def helper():\n    raise RuntimeError('mine')\n\nhelper()\n",
    "none.py": "x = 1\n",
    "raises.py": (
        "from dtrain import program, weight\n\n\n"
        "def helper(p):\n    raise KeyError('mine')\n\n\n"
        "@program\ndef R(p):\n    return helper(p)\n"
    ),
    "leaves.py": (
        "import sys\nfrom dtrain import program\n\n\n"
        "@program\ndef R(p):\n    sys.exit(0)\n"
    ),
    "stray.py": (
        "from dtrain import program, weight\n\n\n"
        "@program\ndef R(p):\n    if p > 0:\n        return weight('W')\n"
        "    return weight('V')\n"
    ),
    "untraced.py": (
        "import numpy as np\nfrom dtrain import program, weight\n\n\n"
        "@program\ndef R(p):\n    return np.i0(weight('W') * p)\n"
    ),
    "misfit.py": (
        "from dtrain import program, weight\n\n\n"
        "@program\ndef R(x):\n    W = weight('W', (2, 7))\n    return W @ x\n"
    ),
    "huge.py": (
        "import numpy as np\nfrom dtrain import program, weight\n\n\n"
        "@program\ndef R(p):\n"
        "    return p * np.sum(weight('Wide', (30000000, 200000000))) * weight('a')\n"
    ),
    "no.w": "these are no weights",
    "shop/__init__.py": "",
    "shop/again.py": "from shop.models import line\n",
    "shop/models.py": (
        "from dtrain import program, weight\n\n\n"
        "@program\ndef line(p):\n    return weight('slope') * p + weight('offset')\n"
    ),
}

LOG = """\
import numpy as np
from dtrain import program, weight


@program
def R(p):
    return np.log(p * weight("w", init=1.0))
"""

# what: (words, texts of the message)
CASES = {
    # what a command reads is not written over
    "--checkpoint at a file": (
        [*LINE, "data.csv", "--checkpoint", "data.csv"],
        ["--checkpoint data.csv", "cannot write into it"],
    ),
    "--resume without a folder": (
        [*LINE, "data.csv", "--resume"],
        ["--checkpoint DIR"],
    ),
    "--force without --resume": (
        [*LINE, "data.csv", "--checkpoint", "ck", "--force"],
        ["--force", "--resume"],
    ),
    "--force without a folder": ([*LINE, "data.csv", "--force"], ["--checkpoint DIR"]),
    "--save over the program": (
        ["train", "model.py:line", "data.csv", "--target", "t", "--save", "model.py"],
        ["--save model.py", "overwrite", "program"],
    ),
    "--save over a checkpoint": (
        [*LINE, "data.csv", "--checkpoint", "ck", "--save", "ck/step-2.safetensors"],
        ["--save ck/step-2.safetensors", "the checkpoints"],
    ),
    "--save into the data": (
        [*LINE, "data", "--save", "data/weights.npy"],
        ["--save data/weights.npy", "the data"],
    ),
    "--save over the data": (
        [*LINE, "data.csv", "--save", "./data.csv"],
        ["--save", "overwrite", "the data"],
    ),
    "--save over the program's module": (
        ["train", "shop.models:line", "data.csv", "--save", "shop/models.py"],
        ["--save shop/models.py", "overwrite", "program"],
    ),
    "--save over a module that the program is from": (
        ["train", "shop.again:line", "data.csv", "--save", "shop/models.py"],
        ["--save shop/models.py", "overwrite", "program"],
    ),
    "--report over a module that is imported": (
        ["train", "shop.again:line", "data.csv", "--report", "shop/__init__.py"],
        ["--report shop/__init__.py", "overwrite", "shop"],
    ),
    "--save over a module that has the program's name": (
        ["train", "shop.again:line", "data.csv", "--save", "shop/again.py"],
        ["--save shop/again.py", "overwrite", "shop.again"],
    ),
    "eval --report over a module": (
        ["eval", "shop.models:line", "--weights", "R.w", "--report", "shop/models.py"],
        ["--report shop/models.py", "overwrite"],
    ),
    "show --svg over a module": (
        ["show", "shop.models:line", "--svg", "shop/models.py"],
        ["--svg shop/models.py", "overwrite", "program"],
    ),
    "explain --html over a module": (
        ["explain", "shop.models:line", "--at", "p=1", "--html", "shop/models.py"],
        ["--html shop/models.py", "overwrite", "program"],
    ),
    "--report over --save": (
        [*LINE, "data.csv", "--save", "w", "--report", "w"],
        ["--report w", "overwrite", "--save"],
    ),
    "--out over the data": (
        ["predict", *LINE[1:], "data.csv", "--weights", "line.w", "--out", "data.csv"],
        ["--out data.csv", "overwrite", "the data"],
    ),
    "--log-dir under a file": (
        [*LINE, "data.csv", "--log-dir", "model.py/logs"],
        ["--log-dir", "model.py/logs/rank-0.log", "Not a directory"],
    ),
    # slips of the finger
    "a mistyped command": (["trian", *LINE[1:], "data.csv"], ["'trian'", "'train'"]),
    "a mistyped option": (
        [*LINE, "data.csv", "--epohcs", "3"],
        ["--epohcs", "did you mean '--epochs'?"],
    ),
    "bars for commas": ([*LINE, "bars.csv"], ["line 1", "--separator"]),
    "a header that begins with #": ([*LINE, "hash.csv"], ["line 1", "'#'"]),
    # data
    "a file that is missing": ([*LINE, "gone.csv"], ["gone.csv", "no such file"]),
    "a folder without arrays": ([*LINE, "bare"], ["bare", "no columns", ".npy"]),
    "another kind of file": ([*LINE, "data.txt"], ["data.txt", ".npz", ".csv"]),
    "a damaged .npz": ([*LINE, "damaged.npz"], ["damaged.npz", "not an .npz"]),
    "no DATA": (LINE, ["DATA is missing", *DATA]),
    "an unknown column": ([*LINE, "data.csv", "--columns", "p=z"], ["'z'", "p, q, t"]),
    "a column of the zoo's": ([*LINE, "digits"], ["'p'", "x, t, label"]),
    "columns of no input": (
        [*LINE, "data.csv", "--columns", "z=p"],
        ["'z'", "neither an input"],
    ),
    "columns without =": (
        [*LINE, "data.csv", "--columns", "p"],
        ["--columns", "'p'", "name=value"],
    ),
    "columns given twice": (
        [*LINE, "data.csv", "--columns", "p=q", "--columns", "p=t"],
        ["--columns", "'p' twice"],
    ),
    "a range that is reversed": (
        [*NET, "data.csv", "--columns", "x=q:p"],
        ["reversed", "p:q"],
    ),
    "an unknown target": ([*LINE, "data.csv", "--target", "z"], ["'z'", "p, q, t"]),
    "a target that is not clear": (
        [*LINE, "data.npz", "--columns", "p=t"],
        ["could be any of", "--target"],
    ),
    "text in a numeric column": (
        [*LINE, "text.csv"],
        ["text.csv", "line 3", "row 2", "'t'", "'six'"],
    ),
    "a row too short": ([*LINE, "short.csv"], ["short.csv", "line 3", "row 2"]),
    "an empty field": ([*LINE, "hole.csv"], ["hole.csv", "row 2", "'p'", "empty"]),
    "NaN": ([*LINE, "nan.csv"], ["nan.csv", "row 3", "line 4", "'p'", "nan"]),
    "infinity": ([*LINE, "inf.csv"], ["inf.csv", "row 3", "line 4", "'t'", "-inf"]),
    "an empty file": ([*LINE, "empty.csv"], ["empty.csv", "empty"]),
    "no rows": ([*LINE, "header.csv"], ["header.csv", "no samples"]),
    "no header": ([*LINE, "numbers.csv"], ["numbers.csv", "column names"]),
    "a name twice": ([*LINE, "twice.csv"], ["twice.csv", "'p'"]),
    "text arrays": ([*LINE, "text.npz"], ["text.npz", "'p'"]),
    "unequal lengths": ([*LINE, "uneven.npz"], ["'p'", "'t'", "3", "4"]),
    "a target too wide": (
        [*LINE, "data.npz", "--target", "x"],
        ["target", "(4,)", "()", "line"],
    ),
    "labels without their loss": (
        ["train", "model.py:scores", "labels.csv"],
        ["shape ()", "returns (3,)", "--loss cross_entropy"],
    ),
    # programs
    "shapes that do not fit": (
        ["train", "misfit.py:R", "data.npz"],
        ["misfit.py:7", "(2, 7)", "(4,)"],
    ),
    "a name that is no program": (["train", "nope"], ["'nope'", *ENTRIES]),
    "a name nearly right": (["train", "lectura"], ["did you mean 'lecture'"]),
    "a file without a name": (["train", "model.py"], ["model.py", ":name"]),
    "a file that is not there": (["train", "gone.py:R"], ["gone.py"]),
    "a module that is not there": (["train", "gone:R"], ["gone", "No module named"]),
    "a name that is not there": (
        ["train", "model.py:R"],
        ["'R'", "net, line, both, scores, wrong"],
    ),
    "a file of no programs": (
        ["train", "none.py:R"],
        ["none.py", "'R'", "none at all"],
    ),
    "a plain function": (["train", "model.py:plain"], ["plain", "@program"]),
    "a syntax error": (
        ["train", "syntax.py:R"],
        ["syntax.py", "line 1", "SyntaxError"],
    ),
    "a name error": (["train", "name.py:R"], ["name.py", "line 2", "NameError"]),
    "an import error": (
        ["train", "wants.py:R"],
        ["wants.py", "line 1", "ModuleNotFoundError"],
    ),
    "sys.exit at import": (
        ["train", "exits.py:R"],
        ["exits.py", "line 2", "SystemExit"],
    ),
    "an error at import": (
        ["train", "deep.py:R"],
        ["deep.py", "line 2, in helper", "RuntimeError: mine"],
    ),
    "an error while traced": (
        ["train", "raises.py:R", "data.csv"],
        ["raises.py", "line 5, in helper", "line 10, in R", "KeyError: 'mine'"],
    ),
    "sys.exit while traced": (
        ["train", "leaves.py:R", "data.csv"],
        ["leaves.py", "line 7, in R", "SystemExit"],
    ),
    "a branch on a symbol": (
        ["train", "stray.py:R", "data.csv"],
        ["stray.py:6", "np.where"],
    ),
    "a function not in the table": (
        ["train", "untraced.py:R", "data.csv"],
        ["untraced.py:7", "i0", "base_function"],
    ),
    "several outputs": ([*NET[:1], "model.py:both", "data.npz"], ["sum, all"]),
    "loss mean of a vector": (
        ["train", "mlp", "--loss", "mean"],
        ["'mean'", "(10,)"],
    ),
    # options
    "an unknown option": (["train", "--frob"], ["--frob", "train --help"]),
    "an abbreviated option": (["train", "--epoch", "3"], ["--epoch"]),
    "an option without its value": (["train", "--epochs"], ["--epochs", "argument"]),
    "an argument too many": ([*LINE, "data.csv", "more"], ["more"]),
    "momentum with adam": (
        ["train", "lecture", "--optimizer", "adam", "--momentum", "0.9"],
        ["adam", "momentum"],
    ),
    "nesterov without momentum": (
        ["train", "lecture", "--nesterov"],
        ["nesterov", "momentum"],
    ),
    # files to write
    "--save into no folder": (
        ["train", "lecture", "--save", "gone/w"],
        ["--save", "gone"],
    ),
    "--save where nobody may": (
        ["train", "lecture", "--save", "/proc/w"],
        ["--save", "/proc"],
    ),
    "--report is a folder": (
        ["train", "lecture", "--report", "bare"],
        ["--report", "bare", "folder"],
    ),
    "--out into no folder": (
        ["predict", "lecture", "lecture", "--weights", "R.w", "--out", "gone/o.npy"],
        ["--out", "gone"],
    ),
    "--out of another kind": (
        ["predict", "lecture", "lecture", "--weights", "R.w", "--out", "o.txt"],
        ["--out", "o.txt", ".npy", ".npz", ".csv"],
    ),
    # weights
    "no --weights": (["eval", "lecture", "lecture"], ["--weights"]),
    "weights that are missing": (
        ["eval", "lecture", "lecture", "--weights", "gone.w"],
        ["gone.w", "No such file"],
    ),
    "weights that are none": (
        ["predict", "lecture", "lecture", "--weights", "no.w"],
        ["no.w", "no weights"],
    ),
    "weights of another program": (
        ["eval", "model.py:line", "data.csv", "--weights", "R.w"],
        ["'W0'", "slope"],
    ),
    "weights of another shape": (
        ["predict", "lecture", "lecture", "--weights", "wide.w"],
        ["'W1'", "(2,)"],
    ),
    "weights to check of another program": (
        ["check", "model.py:line", "--weights", "R.w"],
        ["'W0'", "slope"],
    ),
    # the other commands
    "eval without DATA": (["eval", "model.py:line", "--weights", "R.w"], ["DATA"]),
    "eval of NaN": (
        ["eval", "model.py:line", "nan.csv", "--weights", "line.w"],
        ["row 3", "'p'"],
    ),
    "predict of NaN": (
        ["predict", "model.py:line", "nan.csv", "--weights", "line.w"],
        ["row 3", "'p'"],
    ),
    "check of NaN": (["check", "model.py:line", "nan.csv"], ["row 3", "'p'"]),
    "a shape of no input": (["show", "lecture", "--shape", "z=3"], ["'z'", "P, Q"]),
    "a shape that is none": (["show", "lecture", "--shape", "P=a"], ["--shape", "P=a"]),
    "a negative shape": (["show", "lecture", "--shape", "P=-1"], ["--shape", "P=-1"]),
    "a shape beside DATA": (
        ["check", "model.py:line", "data.csv", "--shape", "p=3"],
        ["--shape", "DATA"],
    ),
    "an input too large": (
        ["explain", "mlp", "--at", "x=1", "--shape", "x=64000000000000"],
        ["memory", "(64000000000000,)", "TiB"],
    ),
    # explain
    "a point without an input": (
        ["explain", "lecture", "--at", "P=1"],
        ["Q is missing"],
    ),
    "a point of no input": (
        ["explain", "lecture", "--at", "P=1,Z=2,Q=1"],
        ["no input 'Z'", "P, Q"],
    ),
    "a point that is no number": (
        ["explain", "lecture", "--at", "P=1,Q=much"],
        ["--at Q=much", "'much' is not a number"],
    ),
    "a point that is not finite": (
        ["explain", "lecture", "--at", "P=1,Q=nan"],
        ["--at Q=nan", "not finite"],
    ),
    "a point without names": (
        ["explain", "lecture", "--at", "1"],
        ["--at '1'", "name="],
    ),
    "a point given twice": (
        ["explain", "lecture", "--at", "P=1", "--at", "Q=1,P=2"],
        ["'P' twice"],
    ),
    "a point that does not fill a shape": (
        ["explain", "model.py:net", "--shape", "x=4", "--at", "x=1,2,3"],
        ["--at x", "3 numbers", "(4,)"],
    ),
    "explain of a shape of no input": (
        ["explain", "lecture", "--at", "P=1,Q=1", "--shape", "z=3"],
        ["'z'", "P, Q"],
    ),
    "no point": (["explain", "model.py:line"], ["p is missing", "--at p="]),
    "--html in no folder": (
        ["explain", "lecture", "--html", "gone/page.html"],
        ["--html gone/page.html", "no folder"],
    ),
    "--html over the weights": (
        ["explain", "lecture", "--weights", "R.w", "--html", "R.w"],
        ["--html R.w", "overwrite", "the weights"],
    ),
    "explain with other weights": (
        ["explain", "lecture", "--weights", "line.w"],
        ["'W0' is missing"],
    ),
    "explain of no PROGRAM": (["explain"], ["PROGRAM"]),
    "--svg over the program": (
        ["show", "model.py:line", "--svg", "model.py"],
        ["--svg model.py", "overwrite", "program"],
    ),
    "--svg of a large graph": (
        ["show", "mlp_scalar", "--svg", "graph.svg", "--dot", "graph.dot"],
        ["nodes", "--dot"],
    ),
    "a page of a large graph": (
        ["explain", "mlp_scalar", "--html", "page.html"],
        ["nodes", "without --html"],
    ),
    "check of no PROGRAM": (["check"], ["PROGRAM"]),
    "show of no PROGRAM": (["show"], ["PROGRAM"]),
    "doctor of something": (["doctor", "lecture"], ["unrecognized", "lecture"]),
    "doctor of no time": (["doctor", "--timeout", "-1"], ["--timeout", "-1"]),
}

# An unset variable of the shell is an empty word, and Path("") is where one is.
for command, option in (
    ("train", "--save"),
    ("train", "--report"),
    ("train", "--checkpoint"),
    ("train", "--log-dir"),
    ("eval", "--weights"),
    ("eval", "--report"),
    ("predict", "--weights"),
    ("predict", "--out"),
    ("show", "--dot"),
    ("show", "--svg"),
    ("explain", "--weights"),
    ("explain", "--html"),
    ("check", "--weights"),
    ("doctor", "--checkpoint"),
):
    words = [command, *([] if command == "doctor" else ["lecture"]), option, ""]
    CASES[f"{command} {option} ''"] = (words, [option, "must be a path, not ''"])
CASES["no text for DATA"] = (["train", "lecture", ""], ["DATA", "must be a path"])

LONG = 300 * "x"  # no file can have this name
for words in (
    ["train", f"{LONG}.py:line", "data.csv"],
    ["train", f"{LONG}.py", "data.csv"],
    ["train", "lecture", LONG],
    ["train", "lecture", "--save", LONG],
    ["train", "lecture", "--report", LONG],
    ["train", "lecture", "--checkpoint", LONG],
    ["predict", "lecture", "--weights", "R.w", "--out", f"{LONG}.csv"],
    ["show", "lecture", "--svg", LONG],
    ["explain", "lecture", "--html", LONG],
):
    words_short = " ".join(words).replace(LONG, "...")
    CASES[f"a name that is too long: {words_short}"] = (words, [LONG])
for words in (
    ["train", "huge.py:R", "data.csv"],
    ["check", "huge.py:R", "data.csv"],
    ["check", "huge.py:R"],
    ["explain", "huge.py:R", "--at", "p=1"],
):
    texts = ["memory", "Wide (30000000, 200000000)", "GiB"]
    CASES[f"weights too large: {' '.join(words)}"] = (words, texts)

LISTS = {
    "--loss": losses.LOSSES,
    "--optimizer": optimizers.OPTIMIZERS,
    "--learning-rate-schedule": schedules.SCHEDULES,
    "--dtype": DTYPES,
    "--execution": EXECUTIONS,
    "--backend": BACKENDS,
    "--bits": CHOICES,
    "--on-nonfinite": ON_NONFINITE,
    "--missing": POLICIES,
}
for option, names in LISTS.items():
    CASES[f"{option} nope"] = (["train", "lecture", option, "nope"], ["'nope'", *names])

# A count is 1 or more (some: 0 or more); a number is finite.
FROM_0 = ("--epochs", "--warmup", "--verify-every")
COUNTS = ("--batch", "--block", "--threads", *FROM_0)
COUNTS += ("--validate-every", "--patience", "--save-every", "--keep", "--min-ranks")
NUMBERS = {
    "--learning-rate": ["-0.1", "nan", "inf", "fast", ""],
    "--momentum": ["-0.1", "1", "nan", "fast"],
    "--weight-decay": ["-0.1", "nan", "fast"],
    "--l1": ["-1", "nan", "fast"],
    "--l2": ["-1", "inf", "fast"],
    "--clip-norm": ["-1", "0", "inf", "fast"],
    "--save-seconds": ["often", "nan"],
    "--seed": ["1.5", "one"],
    "--tolerance": ["0", "-1", "nan", "fast"],
    "--min-delta": ["-1", "nan", "small"],
    "--timeout": ["-1", "nan", "inf", "1e300", "soon"],
}
for option in COUNTS:
    NUMBERS[option] = [
        "-1",
        "1.5",
        "1" + 30 * "0",
        "many",
        *([] if option in FROM_0 else ["0"]),
    ]
for option, values in NUMBERS.items():
    for value in values:
        texts = [option.removeprefix("--").replace("-", "[-_ ]"), value or "''"]
        CASES[f"{option} {value!r}"] = (["train", "lecture", option, value], texts)

NO_WRONG_VALUE = {"--nesterov", "--quiet"}

for value in ("", "||", "no"):
    words = [*LINE, "data.csv", "--separator", value]
    CASES[f"--separator {value!r}"] = (words, ["--separator", "one character"])
CASES["--separator of no text file"] = (
    ["train", "model.py:net", "data.npz", "--separator", ";"],
    ["separator is ';'", "data.npz has none"],
)
CASES["--separator of the zoo"] = (
    ["train", "lecture", "--separator", ";"],
    ["separator is ';'", "not in a text file"],
)
CASES["--missing skip leaves no row"] = (
    [*LINE, "gaps.csv", "--missing", "skip"],
    ["gaps.csv", "every row has a missing value"],
)
CASES["text where a number is needed"] = (
    [*LINE, "words.csv"],
    ["words.csv", "row 2 (line 3)", "'p'", "'two'", "not a number"],
)

for value, texts in {
    "even": ["'even' must have the form name=value"],
    "1=heavy": ["1=heavy", "a number of 0 or more"],
    "1=-2": ["1=-2", "a number of 0 or more"],
    "balanced": ["needs a loss of classes"],
}.items():
    words = ["train", "model.py:net", "data.npz", "--class-weight", value]
    CASES[f"--class-weight {value}"] = (words, texts)
for option, value, texts in (
    ("--freeze", "nothing.*", ["no weight of net matches 'nothing.*'"]),
    ("--freeze", "*", ["all weights of net are frozen"]),
    ("--rate", "nothing=2", ["no weight of net matches 'nothing'"]),
    ("--rate", "W", ["must have the form name=value"]),
    ("--rate", "W=-1", ["a number of 0 or more"]),
):
    words = ["train", "model.py:net", "data.npz", option, value]
    CASES[f"{option} {value}"] = (words, texts)
words = ["train", "model.py:net", "data.npz", "--sample-weight", "nothing"]
CASES["--sample-weight nothing"] = (words, ["no column 'nothing'", "the weight of"])
for value, texts in {
    "0": ["between 0 and 1"],
    "1": ["between 0 and 1"],
    "-0.2": ["between 0 and 1"],
    "nan": ["between 0 and 1"],
    "nowhere.csv": ["nowhere.csv: there is no such file"],
}.items():
    words = ["train", "model.py:net", "data.npz", "--validation", value]
    CASES[f"--validation {value}"] = (words, texts)
for option in ("--validate-every", "--patience", "--min-delta", "--restore-best"):
    words = ["train", "lecture", option, *([] if "best" in option else ["3"])]
    CASES[f"{option} without --validation"] = (words, ["--validation FILE|SHARE"])


@pytest.fixture
def bad(folder):
    """The folder, with the bad files."""
    (folder / "shop").mkdir()
    for name, content in BAD_FILES.items():
        (folder / name).write_text(content)
    (folder / "bare").mkdir()
    np.savez(folder / "text.npz", p=np.array(["a", "b"]), t=np.ones(2))
    np.savez(folder / "uneven.npz", p=np.ones(3), t=np.ones(4))
    save({f"W{i}": np.ones(()) for i in range(3)}, folder / "R.w")
    save({f"W{i}": np.ones(2 * (i == 1) or ()) for i in range(3)}, folder / "wide.w")
    save({"slope": np.ones(()), "offset": np.ones(())}, folder / "line.w")
    return folder


def files(folder):
    """Everything in a folder, and what it holds; Python's own caches aside."""
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if "__pycache__" not in path.parts
    }


def said(text, message):
    """Whether the message has the text; [-_ ] is any of them."""
    pattern = re.escape(text).replace(re.escape("[-_ ]"), "[-_ ]")
    return re.search(pattern, message) is not None


@pytest.mark.parametrize("what", CASES)
def test_bad_input_is_told_once_and_leaves_nothing(dtrain, bad, what):
    words, texts = CASES[what]
    before = files(bad)
    answer = dtrain(*words)
    assert answer.code == 2, answer.err
    assert answer.out == ""
    assert answer.err.startswith("dtrain: error: ")
    assert answer.err.count("dtrain: error:") == 1
    missing = [text for text in texts if not said(text, answer.err)]
    assert missing == [], answer.err
    frames = re.findall(r'File "([^"]+)"', answer.err)
    assert all(frame.startswith((str(bad), "<")) for frame in frames), answer.err
    for word in ("Traceback", "Warning", "dtrain.errors", " value:"):
        assert word not in answer.err
    assert files(bad) == before


def test_every_option_of_train_has_a_wrong_value(dtrain):
    tried = {word for words, _ in CASES.values() for word in words if "--" in str(word)}
    assert options_of(dtrain, "train") <= tried | NO_WRONG_VALUE


def test_every_command_is_tried():
    assert {words[0] for words, _ in CASES.values()} >= set(COMMANDS)


def test_every_bad_file_is_used():
    words = " ".join(str(word) for words, _ in CASES.values() for word in words)
    assert [name for name in BAD_FILES if name not in words] == []


def test_a_run_that_ends_early_writes_nothing(dtrain, folder):
    before = files(folder)
    words = ["--learning-rate", 1e9, "--save", "w", "--report", "r.json"]
    answer = dtrain(*LINE, "data.csv", *words)
    assert answer.code == 70
    assert answer.out == ""
    errors = [x for x in answer.err.splitlines() if not x.startswith("epoch ")]
    assert len(errors) == 1
    assert "smaller learning rate" in errors[0]
    assert files(folder) == before


def test_what_is_not_finite_is_told_with_line_and_row(dtrain, folder):
    (folder / "log.py").write_text(LOG)
    (folder / "log.csv").write_text("p,t\n1,0\n\n-2,0\n3,0\n")
    answer = dtrain("train", "log.py:R", "log.csv", "--quiet")
    assert answer.code == 70
    (line,) = answer.err.splitlines()
    assert line.startswith("dtrain: error: the derivatives of w overflowed")
    assert "log of -2 is nan, forward, at log.py:7, in log.csv: row 2 (line 4)" in line


def test_a_skipped_step_is_warned_of_and_counted(dtrain, folder):
    (folder / "log.py").write_text(LOG)
    (folder / "log.csv").write_text("p,t\n1,0\n\n-2,0\n3,0\n")
    words = ["--batch", 1, "--epochs", 4, "--on-nonfinite", "skip", "--report", "r"]
    answer = dtrain("train", "log.py:R", "log.csv", *words)
    assert answer.code == 0
    warned = re.findall(r"^dtrain: step \d is skipped: .*", answer.err, re.M)
    assert len(warned) == 1
    assert "log.py:7, in log.csv: row 2 (line 4), block 0, rank 0" in warned[0]
    assert json.loads((folder / "r").read_text())["skipped_steps"] == 4
    assert "skipped" in answer.out


def strictly(path):
    """What a file of JSON holds; NaN and Infinity are none."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_a_report_holds_null_for_what_is_not_finite(dtrain, folder):
    (folder / "log.py").write_text(LOG)
    (folder / "log.csv").write_text("p,t\n1,0\n-2,0\n3,0\n")
    save({"w": np.ones(())}, folder / "w")
    answer = dtrain("eval", "log.py:R", "log.csv", "--weights", "w", "--report", "r")
    assert answer.code == 0
    assert "dtrain: the loss is not finite" in answer.err
    report = strictly(folder / "r")
    assert (report["loss"], report["samples"]) == (None, 3)


def test_predictions_that_are_not_finite_are_told(dtrain, folder):
    (folder / "log.py").write_text(LOG)
    (folder / "log.csv").write_text("p,t\n1,0\n\n-2,0\n3,0\n0,0\n")
    save({"w": np.ones(())}, folder / "w")
    words = ["predict", "log.py:R", "log.csv", "--weights", "w"]
    for extra in ([], ["--out", "out.npy"]):
        answer = dtrain(*words, *extra)
        assert answer.code == 0
        assert answer.err == (
            "dtrain: 2 of 4 samples have an output that is not finite, the first: "
            "log.csv: row 2 (line 4)\n"
        )
    np.testing.assert_array_equal(np.isfinite(np.load("out.npy")), [1, 0, 1, 0])


def test_a_run_keeps_the_old_file_when_it_fails(dtrain, folder):
    (folder / "w").write_text("old")
    assert dtrain(*LINE, "data.csv", "--learning-rate", 1e9, "--save", "w").code == 70
    assert (folder / "w").read_text() == "old"
