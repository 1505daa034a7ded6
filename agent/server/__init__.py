"""`stretto serve`: the doors, what stands behind them, and how it is watched."""
