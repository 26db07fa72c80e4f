"""Faults of the network between the services."""

from __future__ import annotations

from tests.chaos.faults.world import World


def cut(world: World) -> None:
    """Refuse connections, or lose requests or responses, in one direction."""
    proxy = world.random.choice(world.proxies)
    mode = world.random.choice(["refuse", "cut_request", "cut_response"])
    world.begin(f"network: {mode.replace('_', ' ')}")
    proxy.mode = mode
    world.rest(0.3, 2.0)
    proxy.mode = "pass"


def delay(world: World) -> None:
    """Forward each request late, in one direction."""
    proxy = world.random.choice(world.proxies)
    world.begin("network: delay")
    proxy.delay(world.random.uniform(0.2, 1.5))
    world.rest(0.5, 2.0)
    proxy.mode = "pass"
