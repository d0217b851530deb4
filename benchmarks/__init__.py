"""This library beside its rivals, and beside another version of itself: ``python -m benchmarks [W1 W2 ...]``."""
