"""The origin as an application of Ray Serve: `serve run griffin_origin.serve:app`, or `serve deploy` with one of the
configurations beside this package. GRIFFIN_… variables set up every replica (settings.py).

Ray Serve starts replicas, watches them, scales them and routes to them: requests with the same `x-session-id` go to the same
replica, by consistent hashing, where a conversation may find its state warm. A replica that is lost takes no
conversation with it: every state is at the edge.
"""

import os
from collections.abc import Mapping

from ray import serve
from ray.serve.config import RequestRouterConfig
from starlette.types import ASGIApp

from .app import create_app
from .origin import Origin
from .settings import Settings

ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"


def replica_settings(environment: Mapping[str, str]) -> Settings:
    """Those of the environment. Fails with ValueError where there is no key: Ray Serve's address is open to others."""
    settings = Settings.of(environment)
    if not settings.origin_key:
        raise ValueError("GRIFFIN_ORIGIN_KEY must be set.")
    return settings


@serve.deployment(
    # The replica itself says `busy`, so that a DELETE always reaches the replica that runs its turn.
    max_ongoing_requests=1000,
    request_router_config=RequestRouterConfig(
        request_router_class=ROUTER, request_router_kwargs={"num_fallback_replicas": 1}
    ),
    health_check_period_s=5,
    graceful_shutdown_timeout_s=30,
)
@serve.ingress()
class GriffinOrigin:
    """One replica: one checkpoint on one device."""

    def __init__(self) -> None:
        self._origin = Origin(replica_settings(os.environ))

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return create_app(self._origin)

    def check_health(self) -> None:
        """Ray Serve replaces a replica of which this fails."""
        if not self._origin.batcher.is_healthy:
            raise RuntimeError("The batcher has stopped, or its device does not answer.")


app = GriffinOrigin.bind()
