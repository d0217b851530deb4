"""The path of the learning signal: the matrix through which credit reaches the layer below."""

from tracetorch.feedback.aligned import KolenPollack, SignSymmetric
from tracetorch.feedback.feedback import Feedback, RandomFeedback, Symmetric

__all__ = ["Feedback", "KolenPollack", "RandomFeedback", "SignSymmetric", "Symmetric"]
