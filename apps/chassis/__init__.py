"""What both services need and what knows nothing of orders or payments."""

__version__ = "0.2.0"
