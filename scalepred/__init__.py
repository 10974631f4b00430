"""Finetune an image classifier in one job, at a learning-rate scale predicted from the task."""

__version__ = "0.1.0"
