"""The parts of a service that do not depend on what the service does: HTTP, access, messaging, storage, telemetry."""

__version__ = "0.2.0"
