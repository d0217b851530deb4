"""Settings for every test."""

import torch

# The tests' tensors are small, and pytest-xdist already keeps each core busy.
torch.set_num_threads(1)
