"""What Prometheus reads: requests by how they ended, passes, tokens, and how long clients waited."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""Seconds."""
OUTCOMES = ("ok", "refused", "busy", "left", "late", "failed")
"""Answered; wrong or not let in (4xx); no room; the client went away; took too long; the model broke."""


class Metrics:
    """One per server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "stretto_llm_requests", "Completions asked for", ["outcome"], registry=registry
        )
        self.forwards = Counter("stretto_llm_forwards", "Passes over the model", registry=registry)
        self.tokens = Counter("stretto_llm_tokens", "Tokens of answers", ["kind"], registry=registry)
        self.live = Gauge("stretto_llm_live", "Requests that are being answered", registry=registry)
        self.waiting = Gauge("stretto_llm_waiting", "Requests that wait for their turn", registry=registry)
        self.first_text = Histogram(
            "stretto_llm_first_text_seconds", "To the first settled words", buckets=BUCKETS, registry=registry
        )
        self.reply = Histogram(
            "stretto_llm_reply_seconds", "To the whole reply", buckets=BUCKETS, registry=registry
        )
        for outcome in OUTCOMES:
            self.requests.labels(outcome)

    def page(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
