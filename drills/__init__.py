"""Drills: programs that break a running scheduler on purpose and judge what is left. See each module's help."""
