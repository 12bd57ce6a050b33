"""Engines that a test drives directly run as `PackTrainer` runs them: on one thread."""

import torch

torch.set_num_threads(1)
