"""Plain numbers that components count in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resolver.counters import BUCKETS_S, OTHER_TYPE, UDP4, Histogram, ServerStats


@given(st.floats(0, 100), st.integers(1, 5))
def test_a_duration_is_counted_in_the_first_bucket_that_holds_it(duration_s: float, times: int) -> None:
    histogram = Histogram()
    histogram.observe(duration_s, times)
    index = next((number for number, bound in enumerate(BUCKETS_S) if duration_s <= bound), len(BUCKETS_S))

    assert {index: times} == {number: count for number, count in enumerate(histogram.counts) if count}
    assert duration_s * times == histogram.sum_s


def test_types_without_a_name_are_counted_as_one() -> None:
    """So that a client cannot make labels without end."""
    stats = ServerStats()
    for rtype in (1, 1, 65280, 65281):
        stats.count_request(UDP4, rtype)

    assert {(UDP4, 1): 2, (UDP4, OTHER_TYPE): 2} == stats.requests
