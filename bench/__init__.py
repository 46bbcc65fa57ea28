"""luigid and luigi-ha, measured in one run on one machine."""
