"""`python -m luigi_ha.appliance.cli`: the same as `luigi-ha`."""

from luigi_ha.appliance.cli.entry import main

main()
