"""Tests, named by behaviour. `support/` holds what several of them share."""
