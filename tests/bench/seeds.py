"""Seeds of the benchmark calls, fixed before any weights were trained on concierge dialogues."""

BENCH_SEEDS = tuple(range(101, 121))
