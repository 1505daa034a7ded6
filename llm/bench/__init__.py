"""`stretto llm bench`: what a canvas costs and saves, against the same weights and against others.

One file a comparison. In every row `ratio` is ours by what it is compared with: below 1 ours is faster.
"""
