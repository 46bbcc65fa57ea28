"""The command line and the configuration, as an operator meets them."""
