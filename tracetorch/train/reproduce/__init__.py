"""Published results repeated through the public layers and rules, number for number.

Each function draws its weights and data from a seed as the published simulation does, so nothing need be
downloaded.
"""

from tracetorch.train.reproduce.classification import classification
from tracetorch.train.reproduce.regression import regression
from tracetorch.train.reproduce.runs import Reproduced

__all__ = ["Reproduced", "classification", "regression"]
