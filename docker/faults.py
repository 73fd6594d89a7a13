"""What befalls a run on a cluster of containers, and how it comes to the same digest.

    python docker/faults.py PROJECT [--few] [--table FILE]

Part of docker/test, with its three containers up. Each fault strikes a run in its
midst. Either the run goes on and finishes, or it ends within its limit, is started
again when the fault is mended, and finishes then: with the digest of the undisturbed
run. `--few` tries those that a run survives or that end it at once; `--table` writes
what was done and what happened into a page, between the lines that mark the place.
"""

import argparse
import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PACE = "0.02"  # seconds a step, at least: 400 steps are 8 seconds
RUN = "train tests/paced.py:net digits --loss cross_entropy --batch 128 --block 8 "
RUN += "--learning-rate 0.01 --epochs 34 --save-every 20 --timeout 10 --quiet --resume"
LIMIT = 60  # seconds for a run and for its second part, each
MARKS = ("<!-- docker/faults.py writes from here -->", "<!-- to here -->")

# Kill processes by their names; the image has no pkill.
KILL = """for it in /proc/[0-9]*; do
    name=$(cat $it/comm 2>/dev/null) || continue
    [[ $name =~ ^(python|prted|prterun|mpirun)$ ]] && kill -KILL ${it#/proc/}
done; true"""
KILL_RANK = """for it in /proc/[0-9]*; do
    grep -qsz ^OMPI_COMM_WORLD_RANK= $it/environ && [[ $(cat $it/comm) == python ]] &&
        exec kill -KILL ${it#/proc/}
done; exit 1"""
COUNT_RANKS = "cat /proc/[0-9]*/comm 2>/dev/null | grep -cx python; true"
PATIENCE = 3  # seconds for a launcher to end after its ranks


def docker(*words: str, timeout: float = 60) -> str:
    """Run a command of docker's; return what it prints."""
    command = ["docker", *words]
    done = subprocess.run(command, check=True, capture_output=True, timeout=timeout)
    return done.stdout.decode()


@dataclass
class Cluster:
    """Three containers: a head, where mpirun is, and two workers, one the victim."""

    project: str
    link: "subprocess.Popen[str] | None" = None

    @property
    def head(self) -> str:
        """The container that the run is started in."""
        return self.named("head")[0]

    @property
    def victim(self) -> str:
        """The container that the faults strike."""
        return self.named("worker")[-1]

    def named(self, service: str) -> list[str]:
        """Names of the service's containers, in order."""
        names = docker("ps", "-a", "--format", "{{.Names}}").split()
        pattern = re.compile(rf"{self.project}[-_]{service}[-_]\d+")
        return sorted(filter(pattern.fullmatch, names))

    def kill_rank(self) -> None:
        """Kill one of the victim's ranks."""
        docker("exec", self.victim, "bash", "-c", KILL_RANK)

    def kill(self) -> None:
        """Kill all that runs in the victim."""
        docker("kill", self.victim)

    def pause(self) -> None:
        """Let nothing in the victim run."""
        docker("pause", self.victim)

    def pause_awhile(self) -> None:
        """Let nothing in the victim run for less than the limit."""
        docker("pause", self.victim)
        time.sleep(4)
        docker("unpause", self.victim)

    def cut(self) -> None:
        """Take the victim's network away."""
        docker("network", "disconnect", f"{self.project}_ranks", self.victim)

    def slow(self) -> None:
        """Delay what goes to and from the victim by 5 ms each way, and lose 1 %."""
        program = [sys.executable, str(HERE / "slow_link.py"), self.victim]
        self.link = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
        if self.link.stdout is None or self.link.stdout.readline() != "slow\n":
            raise SystemExit("faults.py: the link could not be made slow")

    def mend(self) -> None:
        """Undo whatever was done."""
        if self.link is not None:
            self.link.terminate()
            self.link.wait()
            self.link = None
        state = docker("inspect", "-f", "{{.State.Status}}", self.victim).strip()
        if state == "paused":
            docker("unpause", self.victim)
        elif state == "exited":
            docker("start", self.victim)
        network, format_ = f"{self.project}_ranks", "{{json .NetworkSettings.Networks}}"
        if network not in json.loads(docker("inspect", "-f", format_, self.victim)):
            docker("network", "connect", "--alias", "worker", network, self.victim)
        for container in (*self.named("head"), *self.named("worker")):
            docker("exec", container, "bash", "-c", KILL)

    def run(
        self, name: str, options: Sequence[str], log: Path
    ) -> "subprocess.Popen[bytes]":
        """Start the run, or go on with it."""
        command = ["docker", "exec", "-e", f"DTRAIN_TEST_PACE={PACE}", self.head]
        command += ["dtrain-entry", "cluster", *options, "python", "-m", "dtrain"]
        command += [*RUN.split(), "--checkpoint", name, "--report", f"{name}.json"]
        return subprocess.Popen(
            command, stdout=log.open("ab"), stderr=subprocess.STDOUT
        )

    def runs(self) -> bool:
        """Tell whether ranks are left beside the launcher."""
        return docker("exec", self.head, "bash", "-c", COUNT_RANKS) != "0\n"

    def saved(self, name: str) -> bool:
        """Tell whether the run has a checkpoint yet."""
        command = ["docker", "exec", self.head, "bash", "-c", f"ls {name}/step-*"]
        return not subprocess.run(command, check=False, capture_output=True).returncode

    def report(self, name: str) -> dict[str, object] | None:
        """Read the report of a finished run."""
        command = ["docker", "exec", self.head, "cat", f"{name}.json"]
        done = subprocess.run(command, check=False, capture_output=True)
        report = json.loads(done.stdout) if done.returncode == 0 else None
        return report if isinstance(report, dict) else None


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, and what the run is started with.

    Attributes:
        name: of the run.
        what: it is, in the table.
        strike: makes it go wrong.
        options: of mpirun.
        survived: whether the run must go on, or else must end.
        lost: how many ranks it must have lost meanwhile.
        few: whether it is tried where few are.

    """

    name: str
    what: str
    strike: Callable[[Cluster], None]
    options: tuple[str, ...] = ()
    survived: bool = False
    lost: int = 0
    few: bool = False


ULFM = ("--with-ft", "ulfm")
FAULTS = (
    Fault("rank-ulfm", "a rank is killed", Cluster.kill_rank, ULFM, True, 1, few=True),
    Fault("rank", "a rank is killed", Cluster.kill_rank),
    Fault("kill-ulfm", "`docker kill`", Cluster.kill, ULFM),
    Fault("kill", "`docker kill`", Cluster.kill, few=True),
    Fault("awhile", "`docker pause` for 4 s", Cluster.pause_awhile, survived=True),
    Fault("pause", "`docker pause`", Cluster.pause),
    Fault("cut", "`docker network disconnect`", Cluster.cut),
    Fault("slow", "5 ms more each way, 1 % of packets lost", Cluster.slow, (), True),
)


def waited(cluster: Cluster, process: "subprocess.Popen[bytes]") -> str:
    """Wait for a run; give mpirun's exit code, or say that its ranks ended without it.

    A launcher that does not reach a node any more may wait for it for ever.
    """
    deadline, begun = time.monotonic() + LIMIT, False
    while time.monotonic() < deadline:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return str(process.wait(1))
        runs = cluster.runs()
        begun |= runs
        if begun and not runs:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return str(process.wait(PATIENCE))
            process.kill()
            return "hangs, killed"
    process.kill()
    raise SystemExit(f"faults.py: not done after {LIMIT} s")


def tried(cluster: Cluster, fault: Fault, expected: str, logs: Path) -> str:
    """Let a fault strike a run; return what happened, as a row of the table.

    Raises:
        SystemExit: it went on or ended where it should not have, or did not come to the
            digest that was expected.

    """
    log, options = logs / f"{fault.name}.log", fault.options
    process = cluster.run(fault.name, options, log)
    deadline = time.monotonic() + LIMIT
    while not cluster.saved(fault.name):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(
                f"faults.py: {fault.name} has not begun\n{log.read_text()}"
            )
        time.sleep(0.1)
    start = time.monotonic()
    try:
        fault.strike(cluster)
        code = waited(cluster, process)
        seconds = time.monotonic() - start
        report = cluster.report(fault.name)
    finally:
        cluster.mend()
    if (report is not None) != fault.survived:
        raise SystemExit(
            f"faults.py: {fault.name}: survived {fault.survived} was expected; "
            f"{code}, {report}\n{log.read_text()}"
        )
    if report is not None:
        if report["recovered_failures"] != fault.lost:
            raise SystemExit(f"faults.py: {fault.name}: {report}, {fault.lost} lost")
        happened = (
            f"continued with {6 - fault.lost} ranks" if fault.lost else "continued"
        )
    else:
        again = waited(cluster, cluster.run(fault.name, options, log))
        report = cluster.report(fault.name)
        if report is None:
            raise SystemExit(f"faults.py: {fault.name}: {again}\n{log.read_text()}")
        happened = f"ended; resumed from step {report['resumed_from_step']}"
    if report["weights_sha256"] != expected:
        raise SystemExit(f"faults.py: {fault.name}: {report}, expected {expected}")
    with_ = f"`{' '.join(fault.options)}`" if fault.options else ""
    return f"| {fault.what} | {with_} | {happened} | {code} | {seconds:.0f} s | yes |"


def main() -> None:
    """Try all faults, or few, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project")
    parser.add_argument("--few", action="store_true")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--table", type=Path)
    parser.add_argument("--logs", type=Path, default=Path("."))
    args = parser.parse_args()
    cluster = Cluster(args.project)
    whole = waited(cluster, cluster.run("whole", [], args.logs / "whole.log"))
    report = cluster.report("whole")
    if report is None:
        text = (args.logs / "whole.log").read_text()
        raise SystemExit(f"faults.py: the undisturbed run: {whole}\n{text}")
    rows = [
        "| what was done | mpirun | the run | mpirun's code | after | same digest |",
        "|---|---|---|---|---|---|",
    ]
    print(*rows, sep="\n", flush=True)
    for fault in FAULTS:
        if (args.few and not fault.few) or (args.only and fault.name not in args.only):
            continue
        rows.append(tried(cluster, fault, str(report["weights_sha256"]), args.logs))
        print(rows[-1], flush=True)
    if args.table:
        page = args.table.read_text()
        start, end = (page.index(mark) for mark in MARKS)
        start += len(MARKS[0])
        args.table.write_text(page[:start] + "\n" + "\n".join(rows) + "\n" + page[end:])


if __name__ == "__main__":
    main()
