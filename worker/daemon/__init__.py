"""`luigi-ha worker`: luigi's own Worker as a daemon that keeps its tasks through any outage of the schedulers."""
