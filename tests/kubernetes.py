"""deploy/kubernetes as kustomize reads it, and what the custom resources in it may hold.

Kubernetes' own kinds have schemas that a package carries. Those of the three operators are written down here as far as they are used, from
their documentation: a field that isn't here is an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "kubernetes"
BASE = FOLDER / "base"
EXAMPLE = FOLDER / "overlays" / "example"
KUSTOMIZATION = "kustomization.yaml"

Document = dict[str, Any]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
Quantity = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(m|[KMGT]i)?$")]
Count = Annotated[int, msgspec.Meta(ge=1)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """Nothing but its fields, named as Kubernetes does."""


class Named(Strict):
    """A reference to something in the same namespace."""

    name: Name


class RabbitMQTrigger(Strict):
    """KEDA's scaler `rabbitmq`: everything in it is text."""

    protocol: Literal["amqp", "http"]
    vhost_name: str
    mode: Literal["QueueLength", "MessageRate"]
    queue_name: str
    value: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+$")]


class Trigger(Strict):
    """What KEDA looks at."""

    type: Literal["rabbitmq"]
    metadata: RabbitMQTrigger
    authentication_ref: Named


class ScaledObject(Strict):
    """KEDA's ScaledObject."""

    scale_target_ref: Named
    polling_interval: Count
    min_replica_count: Count
    max_replica_count: Count
    triggers: Annotated[list[Trigger], msgspec.Meta(min_length=1)]


class SecretTarget(Strict):
    """A parameter of a scaler, from a secret."""

    parameter: Literal["host"]
    name: Name
    key: str


class TriggerAuthentication(Strict):
    """KEDA's TriggerAuthentication."""

    secret_target_ref: Annotated[list[SecretTarget], msgspec.Meta(min_length=1)]


class Persistence(Strict):
    """A RabbitMQ node's volume."""

    storage: Quantity


class Resources(Strict):
    """As of any container."""

    requests: dict[Literal["cpu", "memory"], Quantity]
    limits: dict[Literal["cpu", "memory"], Quantity]


class Configuration(Strict):
    """Lines of rabbitmq.conf."""

    additional_config: Annotated[str, msgspec.Meta(max_length=2000)]


class RabbitmqCluster(Strict):
    """RabbitMQ's cluster operator's."""

    replicas: Literal[1, 3, 5]
    image: str
    persistence: Persistence
    resources: Resources
    rabbitmq: Configuration
    affinity: Document  # Kubernetes' own: looked at where there is a schema for it


class Relabelling(Strict):
    """One step of Prometheus' relabelling."""

    target_label: str
    replacement: str
    source_labels: list[str] = []


class Endpoint(Strict):
    """A port that Prometheus asks."""

    port: Name
    interval: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+s$")]
    relabelings: list[Relabelling]
    path: str = "/metrics"
    params: dict[str, list[str]] = {}


class Selector(Strict):
    """Pods, by their labels."""

    match_labels: dict[str, str]


class PodMonitor(Strict):
    """Prometheus' operator's."""

    selector: Selector
    pod_metrics_endpoints: Annotated[list[Endpoint], msgspec.Meta(min_length=1)]


CUSTOM: dict[tuple[str, str], type[Strict]] = {
    ("keda.sh/v1alpha1", "ScaledObject"): ScaledObject,
    ("keda.sh/v1alpha1", "TriggerAuthentication"): TriggerAuthentication,
    ("rabbitmq.com/v1beta1", "RabbitmqCluster"): RabbitmqCluster,
    ("monitoring.coreos.com/v1", "PodMonitor"): PodMonitor,
}


class Manifest(NamedTuple):
    """A document, and the file that it stands in."""

    file: Path
    document: Document

    def __str__(self) -> str:
        return f"{self.file.relative_to(FOLDER)}: {self.document['kind']} {self.document['metadata']['name']}"


def documents(text: str) -> list[Document]:
    """What a file, or kustomize, has."""
    return [document for document in yaml.safe_load_all(text) if document]


def kustomization(folder: Path) -> Document:
    """The kustomization of a folder."""
    [found] = documents((folder / KUSTOMIZATION).read_text("utf-8"))
    return found


def files(folder: Path) -> list[Path]:
    """Those that a kustomization names, without other folders."""
    return [folder / name for name in kustomization(folder)["resources"] if name.endswith(".yaml")]


def manifests() -> list[Manifest]:
    """All that there are, as they are written."""
    return [Manifest(file, document) for folder in (BASE, EXAMPLE) for file in files(folder) for document in documents(file.read_text("utf-8"))]


def of_kind(kind: str) -> dict[str, Document]:
    """All of a kind, by name; custom ones too."""
    return {each.document["metadata"]["name"]: each.document for each in manifests() if each.document["kind"] == kind}


def custom(manifest: Manifest) -> Strict | None:
    """A custom resource as it may be; None for one of Kubernetes' own. Raises msgspec.ValidationError for anything that it may not hold."""
    document = manifest.document
    kind = CUSTOM.get((document["apiVersion"], document["kind"]))
    if kind is None:
        return None
    if document.keys() != {"apiVersion", "kind", "metadata", "spec"}:
        raise msgspec.ValidationError(f"It has {sorted(document)}.")
    return msgspec.convert(document["spec"], kind)


def settings(folder: Path) -> dict[str, str]:
    """What a kustomization sets for all services."""
    [generated] = kustomization(folder)["configMapGenerator"]
    return dict(literal.split("=", 1) for literal in generated["literals"])


def mebibytes(quantity: str) -> int:
    """Of Kubernetes' 1Gi and 64Mi, and compose's 1g and 64m."""
    number, unit = quantity.rstrip("giGIMm"), quantity.lstrip("0123456789")[0].lower()
    return int(number) * {"m": 1, "g": 1024}[unit]
