"""deploy/kubernetes: valid by Kubernetes' schemas, and at one with compose.yaml, the settings, the queues and the table of addresses."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Any

import kubernetes_validate  # type: ignore[import-untyped]
import msgspec
import pytest
import yaml  # type: ignore[import-untyped]

from shared import topology
from shared.addresses import METADATA, REACHABLE_IPV6, REFUSED_IPV4, REFUSED_IPV6
from shared.process import HARD_STOP_SECONDS
from shared.settings import FIELDS, Settings, duration, load
from tests import kubernetes
from tests.kubernetes import BASE, EXAMPLE, KUSTOMIZATION, ROOT, Document, Manifest, PodMonitor, RabbitmqCluster, ScaledObject

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = ("1.32", "1.37")
OURS = ("api", "fetcher", "storer")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]
PROMETHEUS: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text("utf-8"))
DOCUMENT = (ROOT / "docs" / "kubernetes.md").read_text("utf-8")
MANIFESTS = kubernetes.manifests()
DEPLOYMENTS = kubernetes.of_kind("Deployment")
POLICIES = kubernetes.of_kind("NetworkPolicy")
KUBECTL = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl, which has kustomize in it, isn't there")

SECRETS = {
    "BOWERBIRD_AMQP_URL_FILE": "amqp://bowerbird:secret@rabbitmq.bowerbird.svc:5672/",
    "BOWERBIRD_MONGO_URL_FILE": "mongodb://mongo:27017/bowerbird",
    "BOWERBIRD_API_KEYS_FILE": "a-key-of-some-length\n",
    "BOWERBIRD_WEBHOOK_SECRET_FILE": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
}


def validate(document: Document) -> None:
    for version in VERSIONS:
        kubernetes_validate.validate(document, version, strict=True)


def pod(name: str) -> Document:
    spec: Document = DEPLOYMENTS[name]["spec"]["template"]["spec"]
    return spec


def container(name: str) -> Document:
    [only] = pod(name)["containers"]
    found: Document = only
    return found


def environment(name: str) -> dict[str, str]:
    own = {variable["name"]: variable["value"] for variable in container(name)["env"]}
    assert container(name)["envFrom"] == [{"configMapRef": {"name": "settings"}}]
    return kubernetes.settings(BASE) | kubernetes.settings(EXAMPLE) | own


def secrets(name: str) -> dict[str, tuple[str, str]]:
    """By the file in which a pod has it: the secret and the key."""
    [sources] = [volume["projected"]["sources"] for volume in pod(name)["volumes"] if volume["name"] == "secrets"]
    return {item["path"]: (source["secret"]["name"], item["key"]) for source in sources for item in source["secret"]["items"]}


def specs(kind: type[msgspec.Struct]) -> dict[str, Any]:
    found = [(manifest.document["metadata"]["name"], kubernetes.custom(manifest)) for manifest in MANIFESTS]
    return {name: spec for name, spec in found if isinstance(spec, kind)}


@pytest.mark.parametrize("folder", [BASE, EXAMPLE], ids=lambda folder: folder.name)
def test_a_kustomization_names_every_file_beside_it_and_what_it_names_is_there(folder: Path) -> None:
    own = kubernetes.kustomization(folder)
    assert own["apiVersion"] == "kustomize.config.k8s.io/v1beta1"
    assert set(kubernetes.files(folder)) == set(folder.glob("*.yaml")) - {folder / KUSTOMIZATION}
    others = {(folder / name).resolve() for name in own["resources"] if not name.endswith(".yaml")}
    assert others == ({BASE} if folder == EXAMPLE else set())


@pytest.mark.parametrize("manifest", MANIFESTS, ids=str)
def test_every_manifest_is_valid(manifest: Manifest) -> None:
    if kubernetes.custom(manifest) is None:
        validate(manifest.document)


@pytest.mark.parametrize(
    "wrong", [{"spec": {"replica": 2}}, {"spec": {"replicas": "two"}}, {"apiVersion": "apps/v9"}, {"kind": "Deploiment"}], ids=str
)
def test_one_that_is_not_is_found_out(wrong: Document) -> None:
    api = DEPLOYMENTS["api"]
    with pytest.raises((kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError)):
        validate({**api, **wrong, "spec": {**api["spec"], **wrong.get("spec", {})}})


def test_an_unknown_field_of_a_custom_resource_is_found_out() -> None:
    [manifest] = [each for each in MANIFESTS if each.document["kind"] == "RabbitmqCluster"]
    wrong = {**manifest.document, "spec": {**manifest.document["spec"], "replica": 3}}
    with pytest.raises(msgspec.ValidationError, match="replica"):
        kubernetes.custom(manifest._replace(document=wrong))


def test_what_has_a_schema_within_a_custom_resource_is_valid_too() -> None:
    [cluster] = specs(RabbitmqCluster).values()
    api = DEPLOYMENTS["api"]
    template = {**api["spec"]["template"], "spec": {**pod("api"), "affinity": cluster.affinity}}
    validate({**api, "spec": {**api["spec"], "template": template}})


def test_the_image_is_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert kubernetes.kustomization(BASE)["images"] == [{"name": "bowerbird", "newTag": version}]
    [example] = kubernetes.kustomization(EXAMPLE)["images"]
    assert example.keys() == {"name", "newName"}
    assert {container(name)["image"] for name in OURS} == {"bowerbird"}
    assert f"/bowerbird:{version}" in DOCUMENT


@pytest.mark.parametrize("name", OURS)
def test_a_service_takes_its_settings(name: str, tmp_path: Path) -> None:
    given = environment(name)
    files = {variable: value for variable, value in given.items() if variable.endswith("_FILE")}
    assert set(files.values()) == {f"/run/bowerbird/{path}" for path in secrets(name)}
    for variable in files:
        (tmp_path / variable).write_text(SECRETS[variable], "utf-8")
    settings = load(given | {variable: str(tmp_path / variable) for variable in files})
    assert settings.amqp_url
    assert bool(settings.mongo_url) == (name != "fetcher")
    assert {variable for variable in given if variable.startswith("BOWERBIRD_")} - set(files) <= set(FIELDS)
    assert container(name)["args"] == COMPOSE[name]["command"] == [name]


@pytest.mark.parametrize("name", OURS)
def test_ports_are_those_of_compose(name: str) -> None:
    compose, given = COMPOSE[name]["environment"], environment(name)
    ports = {port["name"]: str(port["containerPort"]) for port in container(name)["ports"]}
    assert ports["metrics"] == given["BOWERBIRD_METRICS_PORT"] == compose["BOWERBIRD_METRICS_PORT"]
    assert ports.get("http") == given.get("BOWERBIRD_PORT") == compose.get("BOWERBIRD_PORT")
    probes = [probe["httpGet"]["port"] for probe in (container(name)["livenessProbe"], container(name)["readinessProbe"]) if "httpGet" in probe]
    assert set(probes) <= set(ports)
    policy = POLICIES[name]["spec"]["ingress"]
    assert {str(port["port"]) for rule in policy for port in rule["ports"]} == set(ports.values())


def test_the_service_leads_to_the_api() -> None:
    [service] = kubernetes.of_kind("Service").values()
    assert service["spec"]["selector"].items() <= DEPLOYMENTS["api"]["spec"]["template"]["metadata"]["labels"].items()
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]


@pytest.mark.parametrize("name", OURS)
def test_a_service_has_the_time_that_it_needs_to_stop_and_no_less_than_with_compose(name: str) -> None:
    [*_, pause] = container(name).get("lifecycle", {}).get("preStop", {"exec": {"command": ["0"]}})["exec"]["command"]
    left = pod(name)["terminationGracePeriodSeconds"] - int(pause)
    assert left == duration(COMPOSE[name]["stop_grace_period"])
    assert environment(name)["BOWERBIRD_GRACE"] == COMPOSE[name]["environment"]["BOWERBIRD_GRACE"]
    assert left > duration(environment(name)["BOWERBIRD_GRACE"]) + HARD_STOP_SECONDS


@pytest.mark.parametrize("name", OURS)
def test_a_service_has_limits_and_no_privilege(name: str) -> None:
    assert kubernetes.mebibytes(container(name)["resources"]["limits"]["memory"]) == kubernetes.mebibytes(COMPOSE[name]["mem_limit"])
    user = int(re.findall(r"^USER (\d+):\1$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)[0])
    assert pod(name)["securityContext"] == {
        "runAsNonRoot": True, "runAsUser": user, "runAsGroup": user, "fsGroup": user, "seccompProfile": {"type": "RuntimeDefault"}
    }  # fmt: skip
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
    }  # fmt: skip
    assert pod(name)["automountServiceAccountToken"] is False
    # A service called `bowerbird` would make BOWERBIRD_PORT=tcp://… of every pod beside it.
    assert pod(name)["enableServiceLinks"] is False


@pytest.mark.parametrize("name", OURS)
def test_what_can_be_written_is_bounded(name: str) -> None:
    volumes = {volume["name"]: volume["emptyDir"] for volume in pod(name)["volumes"] if "emptyDir" in volume}
    mounts = {mount["mountPath"]: mount["name"] for mount in container(name)["volumeMounts"] if not mount.get("readOnly")}
    assert mounts == {"/tmp": "tmp", "/var/tmp/bowerbird": "scratch"}  # the latter is the image's TMPDIR
    assert volumes.keys() == set(mounts.values())
    assert all(volume["sizeLimit"] for volume in volumes.values())
    if name == "fetcher":
        assert "medium" not in volumes["scratch"]  # a disk, or large bodies would be memory
        assert kubernetes.mebibytes(volumes["scratch"]["sizeLimit"]) > Settings().fetch_disk // 1024**2


def test_an_api_is_not_taken_out_of_service_for_what_it_waits_for() -> None:
    for probe in ("livenessProbe", "readinessProbe"):
        assert container("api")[probe]["httpGet"]["path"] == "/health/live"


@pytest.mark.parametrize("name", OURS)
def test_budgets_and_policies_are_for_the_pods_of_their_name(name: str) -> None:
    labels = DEPLOYMENTS[name]["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/component"] == name
    budget = kubernetes.of_kind("PodDisruptionBudget")[name]["spec"]
    assert DEPLOYMENTS[name]["spec"]["selector"] == budget["selector"] == POLICIES[name]["spec"]["podSelector"] == {"matchLabels": labels}
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert POLICIES[name]["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_the_fetchers_have_no_way_to_the_database_and_no_secret_of_it() -> None:
    assert set(secrets("fetcher")) == {"amqp-url", "webhook-secret"}
    ports = [port for rule in POLICIES["fetcher"]["spec"]["egress"] for port in rule["ports"]]
    assert all("to" in rule for rule in POLICIES["fetcher"]["spec"]["egress"])
    assert not any(port["port"] <= 27017 <= port.get("endPort", port["port"]) for port in ports)
    [rule] = POLICIES["fetcher"]["spec"]["ingress"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"bowerbird/monitoring": "true"}}}]


def test_the_fetchers_may_ask_what_the_table_of_addresses_lets_them() -> None:
    [rule] = [rule for rule in POLICIES["fetcher"]["spec"]["egress"] if any("ipBlock" in peer for peer in rule["to"])]
    four, six = (peer["ipBlock"] for peer in rule["to"])
    beyond = [network for network in METADATA if isinstance(network, IPv4Network) and not any(network.subnet_of(refused) for refused in REFUSED_IPV4)]
    assert four == {"cidr": "0.0.0.0/0", "except": [str(network) for network in (*REFUSED_IPV4, *beyond)]}
    assert six == {"cidr": str(REACHABLE_IPV6), "except": [str(network) for network in REFUSED_IPV6]}
    assert all(IPv6Network(each).subnet_of(REACHABLE_IPV6) for each in six["except"])
    ports = tuple(range(port["port"], port.get("endPort", port["port"]) + 1) for port in rule["ports"])
    assert ports == Settings().fetch_ports
    assert {port["protocol"] for port in rule["ports"]} == {"TCP"}


def test_queues_that_scale_something_are_read_by_it() -> None:
    scaled = specs(ScaledObject)
    assert set(scaled) == {"fetcher", "storer"}
    queues = {queue.name: queue for queue in topology.WORK}
    for name, spec in scaled.items():
        assert spec.scale_target_ref.name == name
        assert spec.min_replica_count < spec.max_replica_count
        for trigger in spec.triggers:
            queue = queues[trigger.metadata.queue_name]
            assert queue.name.startswith(f"{name}.")
            # All of them are at work before the queue is full.
            assert int(trigger.metadata.value) * spec.max_replica_count < queue.arguments["x-max-length"]
    [api] = kubernetes.of_kind("HorizontalPodAutoscaler").values()
    assert api["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}


def test_how_many_there_are_is_left_to_the_autoscalers() -> None:
    [patch] = kubernetes.kustomization(EXAMPLE)["patches"]
    assert yaml.safe_load(patch["patch"]) == [{"op": "remove", "path": "/spec/replicas"}]
    assert all(deployment["spec"]["replicas"] == COMPOSE[name]["scale"] for name, deployment in DEPLOYMENTS.items())


def test_a_host_is_asked_with_as_many_connections_as_the_document_says() -> None:
    each, most = int(kubernetes.settings(EXAMPLE)["BOWERBIRD_HOST_CONCURRENCY"]), specs(ScaledObject)["fetcher"].max_replica_count
    assert f"the example has {each}, so {each * most} at most" in DOCUMENT


def test_the_broker_is_that_of_compose() -> None:
    [cluster] = specs(RabbitmqCluster).values()
    assert cluster.image == COMPOSE["rabbitmq"]["image"]
    own = {line.strip() for line in cluster.rabbitmq.additional_config.splitlines()}
    assert own <= set((ROOT / "deploy" / "rabbitmq" / "rabbitmq.conf").read_text("utf-8").splitlines())


def test_prometheus_asks_what_it_asks_elsewhere() -> None:
    monitors = specs(PodMonitor)
    [ours] = monitors["bowerbird"].pod_metrics_endpoints
    [relabelling] = ours.relabelings
    jobs = {relabelling.replacement.replace("$1", name): "/metrics" for name in OURS}
    jobs |= {endpoint.relabelings[0].replacement: endpoint.path for endpoint in monitors["rabbitmq"].pod_metrics_endpoints}
    assert jobs == {job["job_name"]: job.get("metrics_path", "/metrics") for job in PROMETHEUS["scrape_configs"]}
    assert relabelling.source_labels == ["__meta_kubernetes_pod_label_app_kubernetes_io_component"]
    assert [endpoint.params for endpoint in monitors["rabbitmq"].pod_metrics_endpoints if endpoint.params] == [
        job["params"] for job in PROMETHEUS["scrape_configs"] if "params" in job
    ]


def test_secrets_are_named_as_in_the_document_and_none_is_written_down() -> None:
    assert not kubernetes.of_kind("Secret")
    rows = re.findall(r"^\| `([a-z-]+)` \| `([a-z_-]+)` \| ([a-z, ]+)", DOCUMENT, re.MULTILINE)
    told = {(secret, key): set(OURS) if who.startswith("all") else set(who.strip().split(", ")) for secret, key, who in rows}
    used = {pair: {name for name in OURS if pair in secrets(name).values()} for name in OURS for pair in secrets(name).values()}
    assert told == used


def test_labels_that_open_doors_are_named_in_the_document() -> None:
    doors = set(re.findall(r"bowerbird/[a-z]+", " ".join(str(policy) for policy in POLICIES.values())))
    assert doors == set(re.findall(r"(bowerbird/[a-z]+)=true", DOCUMENT))


@KUBECTL
@pytest.mark.parametrize("folder", [BASE, EXAMPLE], ids=lambda folder: folder.name)
def test_kustomize_builds_it_and_what_it_builds_is_valid(folder: Path) -> None:
    built = subprocess.run(["kubectl", "kustomize", folder], check=True, capture_output=True, text=True, timeout=60).stdout
    found = [Manifest(folder / KUSTOMIZATION, document) for document in kubernetes.documents(built)]
    for manifest in found:
        if kubernetes.custom(manifest) is None:
            validate(manifest.document)
    deployments = [manifest.document for manifest in found if manifest.document["kind"] == "Deployment"]
    [settings] = [manifest.document for manifest in found if manifest.document["kind"] == "ConfigMap"]
    assert len(deployments) == len(OURS)
    for deployment in deployments:
        [only] = deployment["spec"]["template"]["spec"]["containers"]
        assert only["image"].endswith(f"bowerbird:{kubernetes.kustomization(BASE)['images'][0]['newTag']}")
        assert only["envFrom"] == [{"configMapRef": {"name": settings["metadata"]["name"]}}]
        assert ("replicas" in deployment["spec"]) == (folder == BASE)
    if folder == EXAMPLE:
        assert settings["data"] == kubernetes.settings(BASE) | kubernetes.settings(EXAMPLE)
        assert {manifest.document["metadata"].get("namespace") for manifest in found if manifest.document["kind"] != "Namespace"} == {"bowerbird"}
