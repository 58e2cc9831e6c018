"""The one training loop and what it needs; nothing here knows of methods."""
