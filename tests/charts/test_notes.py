"""NOTES.txt, which Helm prints after an installation: it describes what the values install, and its commands are valid.

The end-to-end tests run the commands.
"""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest

from tests.support.charts.notes import commands
from tests.support.charts.rendering import Case, from_file

KINDS = {
    "deployment": "Deployment",
    "hpa": "HorizontalPodAutoscaler",
    "httproute": "HTTPRoute",
    "ingress": "Ingress",
    "pdb": "PodDisruptionBudget",
    "podmonitor": "PodMonitor",
    "secret": "Secret",
    "service": "Service",
    "servicemonitor": "ServiceMonitor",
}


def test_a_shell_can_parse_the_commands(case: Case) -> None:
    found = commands(case.notes())
    assert len(found) > 4
    for command in found:
        done = subprocess.run(["bash", "-n"], input=command, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), command
        assert re.match(r"kubectl |helm |curl |kill |API_KEY=\$\(kubectl ", command), command


def test_commands_name_the_namespace_the_release_and_existing_objects(case: Case) -> None:
    made = {(one["kind"], one["metadata"]["name"]): one for one in case.objects()}
    for command in commands(case.notes()):
        if command.startswith("helm"):
            assert re.fullmatch(rf"helm -n shop (test|uninstall) {re.escape(case.release)}( --logs)?", command)
        for words in re.findall(r"kubectl ([^|)]*)", command):
            _, namespace, verb, *rest = shlex.split(words)
            assert namespace == "shop", command
            if "-l" in rest:
                labels = dict(pair.split("=") for pair in rest[rest.index("-l") + 1].split(","))
                assert any(labels.items() <= one["metadata"]["labels"].items() for one in made.values()), command
                continue
            kind, name = rest[0].split("/") if verb in ("port-forward", "exec") else rest[:2]
            if (KINDS[kind], name) not in made:
                assert kind == "secret", command
                assert case.chart == "order" or f"'{name}'" in str(case.values), command  # a Secret that exists already


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("laptop", set()),
        ("autoscaling", {"hpa", "pdb"}),
        ("gateway", {"httproute", "servicemonitor"}),
        ("ingress-tls", {"ingress"}),
        ("no-network-policies", {"service", "podmonitor"}),
        ("high-availability", {"pdb"}),
    ],
)
def test_commands_show_the_objects_that_the_values_create(name: str, kinds: set[str]) -> None:
    text = "\n".join(commands(from_file("tandem", name).notes()))
    assert set(re.findall(r"get ([a-z]+) tandem-(?:order|payment)\n", f"{text}\n")) == kinds


@pytest.mark.parametrize(
    ("name", "said", "unsaid"),
    [
        ("laptop", ["without\nreplicas or backups", "delete pvc,secret"], ["Gateway", "NetworkPolicy", "From outside"]),
        ("external-database", ["the Secret\ntandem-order-database"], ["backups", "delete pvc", "passwords"]),
        ("cloudnativepg", ["order-service-database", "payment-service-database"], ["backups", "delete pvc"]),
        ("patroni", ["the Secret\norder-database.", "payment-database"], ["backups", "delete pvc"]),
        (
            "existing-secrets",
            ["get secret tandem-keys", "the Secret\norder-database.", "backups"],
            ["tandem-credentials"],
        ),
        (
            "ingress-tls",
            ["https://orders.shop.example/", "https://events.shop.example/v1/provider-events"],
            ["http://or"],
        ),
        ("gateway", ["orders.shop.example"], ["https://"]),
        ("no-network-policies", ["No NetworkPolicy", "NodePort"], []),
        ("autoscaling", ["2 to 10 pods", "1 to 6 pods"], []),
    ],
)
def test_notes_describe_what_the_values_install(name: str, said: list[str], unsaid: list[str]) -> None:
    notes = from_file("tandem", name).notes()
    assert [one for one in said if one not in notes] == []
    assert [one for one in unsaid if one in notes] == []


@pytest.mark.parametrize("only", ["order", "payment"])
def test_notes_do_not_mention_a_disabled_service(only: str) -> None:
    other = "payment" if only == "order" else "order"
    keys = {"credentials": {"existingSecret": "keys"}}
    notes = Case(values={other: {"enabled": False}, only: {other: {"url": "http://elsewhere"}} | keys}).notes()
    assert f"service/tandem-{only} " in notes
    assert f"tandem-{other}" not in notes
