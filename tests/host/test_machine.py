"""Facts about this machine and its processes, as /proc and /sys show them."""

import os
import subprocess
import sys
import time

import pytest

from dtrain.host import machine, processes


def test_this_process_is_found_with_its_parent():
    found = processes.find(os.getpid())
    assert (found.pid, found.parent) == (os.getpid(), os.getppid())
    assert next(processes.ancestors()).pid == os.getppid()
    assert 0 < processes.process_seconds() < time.clock_gettime(time.CLOCK_BOOTTIME)


def test_an_ended_process_is_not_found_even_before_it_is_reaped():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert processes.find(child.pid).parent == os.getpid()
    finally:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert processes.find(child.pid) is None
    child.communicate()
    assert processes.find(child.pid) is None


def test_a_name_may_contain_spaces_and_parentheses(tmp_path):
    program = tmp_path / "a) S 1 ("
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as child:
        try:
            deadline = time.monotonic() + 20
            while processes.find(child.pid).name != "a) S 1 (":
                assert time.monotonic() < deadline
            assert processes.find(child.pid).parent == os.getpid()
        finally:
            child.kill()


@pytest.mark.parametrize(
    ("text", "cores"),
    [("150000 100000", 1.5), ("max 100000", 0.0), ("", 0.0)],
)
def test_the_quota_of_a_cgroup_is_read(text, cores):
    assert machine.quota(text) == cores


@pytest.mark.parametrize(("ranges", "number"), [("0-3,8", 5), ("2", 1), ("", 0)])
def test_cores_in_ranges_are_counted(ranges, number):
    assert machine.count(ranges) == number


def test_a_missing_file_system_has_no_space():
    assert machine.space("/proc/none") == (0, 0)
    size, free = machine.space("/")
    assert 0 <= free <= size
