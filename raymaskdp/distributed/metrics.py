"""Counters and gauges on Ray's metrics port, for Prometheus. Ray prefixes names with `ray_`."""

from __future__ import annotations

from collections.abc import Callable


def counter(name: str, about: str, *, tag: str) -> Callable[[float, str], None]:
    """A new counter: a function of an amount and a value of `tag`. Its exported name ends in `_total`."""
    from ray.util.metrics import Counter

    made = Counter(name, about, tag_keys=(tag,))
    return lambda value, of: made.inc(value, tags={tag: of})


def gauge(name: str, about: str) -> Callable[[float], None]:
    """A new gauge: a function that sets it."""
    from ray.util.metrics import Gauge

    made = Gauge(name, about)
    return lambda value: made.set(value)


def tagged_gauge(name: str, *, tag: str) -> Callable[[float, str], None]:
    """A new gauge for each value of `tag`: a function that sets the one of a value."""
    from ray.util.metrics import Gauge

    made = Gauge(name, tag_keys=(tag,))
    return lambda value, of: made.set(value, tags={tag: of})
