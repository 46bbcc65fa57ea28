"""`python -m appliance.cli`: the same as `luigi-ha`."""

from appliance.cli.app import main

main()
