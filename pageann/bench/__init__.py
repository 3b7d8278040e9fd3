"""The benchmark: a closed loop over an open index, and what it costs.

``docs/benchmarks.md`` says what each figure means; this package measures them. Nothing that is not the
search itself happens in the timed part.
"""
