"""Published results repeated through the public layers and rules, number for number.

Each function draws its weights and data from a seed as the published simulation does, so nothing need be
downloaded.
"""

from benchmarks.reproduce.classification import classification
from benchmarks.reproduce.regression import regression
from benchmarks.reproduce.runs import Reproduced

__all__ = ["Reproduced", "classification", "regression"]
