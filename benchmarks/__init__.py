"""This library beside its rivals: ``python -m benchmarks [W1 W2 ...]``.

What is measured and how is in `tracetorch.train.bench`; here are the rivals, their environments, and the goals.
"""
