"""What a job for Kubeflow's MPI operator may say (kubeflow.org/v2beta1), as a schema.

Written after what the operator tells of its fields (github.com/kubeflow/mpi-operator,
Apache-2.0, at 26635a4e: V2beta1MPIJobSpec.md in sdk/python/v2beta1/docs, and what it
names), field by field. Its own schema repeats Kubernetes' for what is in a pod, and is
half a megabyte long.
"""

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}


def count(minimum: int = 0) -> Schema:
    """A number of something."""
    return {"type": "integer", "minimum": minimum, "maximum": 2**31 - 1}


def fields(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


SCHEDULING = fields(
    minAvailable=count(),
    queue=TEXT,
    minResources={"type": "object"},
    priorityClass=TEXT,
    scheduleTimeoutSeconds=count(),
)

RUN_POLICY = fields(
    cleanPodPolicy={"enum": ["", "All", "Running", "None"]},
    ttlSecondsAfterFinished=count(),
    activeDeadlineSeconds=count(1),
    backoffLimit=count(),
    schedulingPolicy=SCHEDULING,
    suspend=FLAG,
    managedBy=TEXT,
)

REPLICA = fields(
    ("template",),
    replicas=count(),
    restartPolicy={"enum": ["Always", "OnFailure", "Never", "ExitCode"]},
    template={"type": "object"},  # a pod's template: see Kubernetes' own schema
)

SPEC = fields(
    ("mpiReplicaSpecs",),
    slotsPerWorker=count(1),
    runPolicy=RUN_POLICY,
    mpiReplicaSpecs=fields(("Launcher", "Worker"), Launcher=REPLICA, Worker=REPLICA),
    runLauncherAsWorker=FLAG,
    sshAuthMountPath=TEXT,
    launcherCreationPolicy={"enum": ["AtStartup", "WaitForWorkersReady"]},
    mpiImplementation={"enum": ["OpenMPI", "Intel", "MPICH"]},
)

MPI_JOB = fields(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "kubeflow.org/v2beta1"},
    kind={"const": "MPIJob"},
    metadata=fields(("name",), name=TEXT, namespace=TEXT, labels={"type": "object"}),
    spec=SPEC,
)
