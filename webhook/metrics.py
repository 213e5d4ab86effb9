"""What is counted and timed; shown at `/metrics`."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

KNOWN_EVENTS = frozenset(
    {
        "room_started",
        "room_finished",
        "participant_joined",
        "participant_left",
        "participant_connection_aborted",
        "track_published",
        "track_unpublished",
        "egress_started",
        "egress_updated",
        "egress_ended",
        "ingress_started",
        "ingress_ended",
    }
)
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.8, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counters of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._events = Counter(
            "switchboard_webhook_events",
            "Posts to /livekit-webhook, by event and what became of them",
            ("event", "outcome"),
            registry=self.registry,
        )
        self.lookups = Counter(
            "switchboard_persona_lookups", "Personas resolved, by source", ("source",), registry=self.registry
        )
        self.lookup_seconds = Histogram(
            "switchboard_persona_lookup_seconds", "Time to a persona", buckets=SECONDS, registry=self.registry
        )
        self.dispatches = Counter(
            "switchboard_dispatches", "Agents to be sent, by outcome", ("outcome",), registry=self.registry
        )
        self.dispatch_seconds = Histogram(
            "switchboard_dispatch_seconds",
            "From the arrival of a caller, as this process saw it, to an agent dispatched",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.live_calls = Gauge(
            "switchboard_live_calls", "Callers in rooms; 0 in processes that do not watch", registry=self.registry
        )
        self.arrivals = Gauge(
            "switchboard_arrivals_under_way", "Callers being looked after at this moment", registry=self.registry
        )
        self.replacements = Counter(
            "switchboard_replacements",
            "Agents sent after a first one, by what became of the one before",
            ("reason",),
            registry=self.registry,
        )
        self.notices = Counter(
            "switchboard_notices", "What workers told, by kind and reason", ("kind", "reason"), registry=self.registry
        )
        self.refused_calls = Counter(
            "switchboard_calls_refused", "Callers who got no agent, by reason", ("reason",), registry=self.registry
        )

    def event(self, name: str, outcome: str) -> None:
        # Names come from outside: an unknown one must not make a new series.
        self._events.labels(name if name in KNOWN_EVENTS else "other", outcome).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)
