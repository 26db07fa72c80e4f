"""The Pod Security Standard "restricted", which all pods of the charts must meet."""

from __future__ import annotations

from typing import Any


def violations(pod: dict[str, Any]) -> list[str]:
    """Return the names of the controls of Pod Security "restricted" that a pod violates.

    Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    spec, annotations = pod["spec"], pod["metadata"].get("annotations", {})
    security = spec.get("securityContext", {})
    containers = [one for kind in ("initContainers", "containers", "ephemeralContainers") for one in spec.get(kind, [])]
    contexts = [one.get("securityContext", {}) for one in containers]
    everywhere = [security, *contexts]
    volumes = {kind for volume in spec.get("volumes", []) for kind in volume.keys() - {"name"}}
    admitted = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    sysctls = {one["name"] for one in security.get("sysctls", [])}
    controls = {
        # baseline
        "HostProcess": not any(one.get("windowsOptions", {}).get("hostProcess") for one in everywhere),
        "Host Namespaces": not any(spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")),
        "Privileged Containers": not any(one.get("privileged") for one in contexts),
        "HostPath Volumes": "hostPath" not in volumes,
        "Host Ports": not any(port.get("hostPort") for one in containers for port in one.get("ports", [])),
        "Host Probes": '"host":' not in str([one.get(kind) for one in containers for kind in one if "Probe" in kind]),
        "AppArmor": all(
            one.get("appArmorProfile", {}).get("type", "RuntimeDefault") != "Unconfined" for one in everywhere
        )
        and not any("apparmor" in name for name in annotations),
        "SELinux": not any("seLinuxOptions" in one for one in everywhere),
        "/proc Mount Type": all(one.get("procMount", "Default") == "Default" for one in contexts),
        "Sysctls": not sysctls,
        # restricted
        "Volume Types": volumes <= admitted,
        "Privilege Escalation": all(one.get("allowPrivilegeEscalation") is False for one in contexts),
        "Running as Non-root": all(one.get("runAsNonRoot", security.get("runAsNonRoot")) is True for one in contexts),
        # Without a value the image's user, or the one that the platform chooses; it must not be root, as above.
        "Running as Non-root user": all(one.get("runAsUser", security.get("runAsUser", 1)) > 0 for one in contexts),
        "Seccomp": all(
            one.get("seccompProfile", security.get("seccompProfile", {})).get("type") in ("RuntimeDefault", "Localhost")
            for one in everywhere
        ),
        "Capabilities": all(
            "ALL" in one.get("capabilities", {}).get("drop", []) and not one["capabilities"].get("add")
            for one in contexts
        ),
    }
    return [name for name, holds in controls.items() if not holds]
