"""What is counted, as Prometheus text. One registry for each origin, so that several in one process do not mix."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.slots = Gauge("griffin_origin_slots", "Slots by what they hold", ["holds"], registry=self.registry)
        self.waiting = Gauge("griffin_origin_waiting_turns", "Turns without a slot", registry=self.registry)
        self.turns = Counter("griffin_origin_turns", "Turns by how they ended", ["ended"], registry=self.registry)
        self.read = Counter("griffin_origin_read_tokens", "Tokens read that were known before", registry=self.registry)
        self.generated = Counter("griffin_origin_generated_tokens", "Tokens generated", registry=self.registry)
        self.refused = Counter(
            "griffin_origin_refused_requests", "Requests that were refused", ["code"], registry=self.registry
        )
        self.warm = Counter("griffin_origin_warm_lookups", "Warm states asked for", ["found"], registry=self.registry)
        self.dispatch = self._seconds("dispatch", "From a dispatch of decoding to its tokens")
        self.first_token = self._seconds("first_token", "From a request's acceptance to its first token")
        self.turn = self._seconds("turn", "From a request's acceptance to its result")

    def _seconds(self, name: str, text: str) -> Histogram:
        return Histogram(f"griffin_origin_{name}_seconds", text, buckets=SECONDS, registry=self.registry)

    def text(self) -> bytes:
        return generate_latest(self.registry)
