"""The job for Kubernetes holds to the schemas of the MPI operator and of Kubernetes."""

import copy
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dtrain.cli.main import parse
from tests.examples.mpijob import MPI_JOB

reason = "the validators of Kubernetes are not installed (--peers)"
kubernetes_validate = pytest.importorskip("kubernetes_validate", reason=reason)
jsonschema = pytest.importorskip("jsonschema", reason=reason)
yaml = pytest.importorskip("yaml", reason=reason)
pytestmark = pytest.mark.peers

ROOT = Path(__file__).parents[2]
JOB = yaml.safe_load((ROOT / "examples/kubernetes/mpijob.yaml").read_text())
ROLES = sorted(JOB["spec"]["mpiReplicaSpecs"])


def pod(job: dict[str, Any], role: str) -> dict[str, Any]:
    """Give what is in a role's pods."""
    return job["spec"]["mpiReplicaSpecs"][role]["template"]["spec"]


def validate(job: dict[str, Any]) -> None:
    """Hold a job to both schemas; pods also to knowing all fields."""
    jsonschema.validate(job, MPI_JOB)
    for role in ROLES:
        template = {
            "apiVersion": "v1",
            "kind": "PodTemplate",
            "metadata": {"name": role.lower()},
            "template": job["spec"]["mpiReplicaSpecs"][role]["template"],
        }
        kubernetes_validate.validate(template, "1.32", strict=True)


def test_the_job_is_valid():
    validate(JOB)


MISTAKES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a version": lambda job: job.update(apiVersion="kubeflow.org/v1"),
    "a field": lambda job: job["spec"].update(slots=2),
    "a policy": lambda job: job["spec"]["runPolicy"].update(cleanPodPolicy="Some"),
    "a number": lambda job: job["spec"].update(slotsPerWorker="2"),
    "a start": lambda job: job["spec"].update(launcherCreationPolicy="Later"),
    "a role": lambda job: job["spec"]["mpiReplicaSpecs"].pop("Worker"),
    "a pod's field": lambda job: pod(job, "Worker").update(volume=[]),
    "a pod's value": lambda job: pod(job, "Worker").update(containers="dtrain"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake):
    job = copy.deepcopy(JOB)
    MISTAKES[mistake](job)
    with pytest.raises(
        (jsonschema.ValidationError, kubernetes_validate.ValidationError)
    ):
        validate(job)


def test_the_launcher_is_alive_while_checkpoints_are_new(tmp_path):
    (launcher,) = pod(JOB, "Launcher")["containers"]
    *shell, command = launcher["livenessProbe"]["exec"]["command"]
    words = shlex.split(launcher["args"][0])
    folder = parse(words[words.index("dtrain") + 1 : words.index("&&")]).checkpoint
    assert str(folder) in command
    probe = [*shell, command.replace(str(folder), str(tmp_path))]
    checkpoint = tmp_path / "step-1.safetensors"
    checkpoint.touch()
    assert subprocess.run(probe, check=False).returncode == 0
    long_ago = time.time() - 1000
    for path in (checkpoint, tmp_path):
        os.utime(path, (long_ago, long_ago))
    assert subprocess.run(probe, check=False).returncode == 1


def test_its_command_is_one_of_dtrain_s():
    (launcher,) = pod(JOB, "Launcher")["containers"]
    words = shlex.split(launcher["args"][0])
    args = parse(words[words.index("dtrain") + 1 : words.index("&&")])
    folders = tuple(mount["mountPath"] for mount in launcher["volumeMounts"])
    assert args.resume
    assert str(args.checkpoint).startswith(folders)
    assert words[words.index("&&") :] == ["&&", "test", "-e", str(args.report)]
