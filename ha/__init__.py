"""Leases, election, the keeper process, the virtual IP. Knows nothing of tasks; imports nothing of `appliance`.

Empty so far: leadership over several machines is the next step. The package exists so that the layering
contract already covers it.
"""
