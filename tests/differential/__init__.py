"""The same random calls to Luigi's scheduler and to ours, every reply compared."""
