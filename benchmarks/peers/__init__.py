"""The servers that pydns is measured beside, and how each is started for a task."""
