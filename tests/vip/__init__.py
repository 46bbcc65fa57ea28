"""Tests of the address, in network namespaces of their own."""
