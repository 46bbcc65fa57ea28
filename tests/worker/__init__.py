"""The worker daemon and its client, against real nodes."""
