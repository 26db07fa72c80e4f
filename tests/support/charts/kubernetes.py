"""The Kubernetes versions that manifests are validated against."""

from kubernetes_validate import utils

OLDEST = "1.30.0"
"""The oldest version that the charts support (`kubeVersion`)."""

NEWEST = utils.latest_version()
"""The newest version whose schemas are known."""
