"""The worker daemon and its client. Imports luigi; imports nothing of `appliance` or `ha`.

Empty so far: it comes in a later step. Until then stock `luigi` workers do the work. The package exists so
that the layering contract already covers it.
"""
