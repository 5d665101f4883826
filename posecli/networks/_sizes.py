"""Parameters and 10^9 multiply-adds of the networks, counted by `_count.count` at their input size.

Counting all of them takes minutes; `posecli weights list` takes them from here, `weights info NAME` counts anew. A
network that is not here is counted when it is asked for. A test counts again and says what to write.
"""

SIZES: dict[str, tuple[int, float]] = {}
