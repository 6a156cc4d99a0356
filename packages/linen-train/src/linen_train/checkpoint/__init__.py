"""Checkpoints of training states: saved in the background, restored strictly."""

from linen_train.checkpoint.checkpointer import Checkpointer

__all__ = ["Checkpointer"]
