"""`python -m appliance.cli`: the same as `luigi-ha`."""

from appliance.cli.entry import main

main()
