"""The readable backend, in torch: the truth that compiled backends are tested against."""

from tracetorch.backends.torch.scan import Torch, TorchTape

__all__ = ["Torch", "TorchTape"]
