"""One scheduler node: puts store, engine, journal and API together and moves through its states."""

from appliance.exit_codes import ExitCode
from appliance.node.node import Node, NodeOptions
from appliance.node.states import State

__all__ = ["ExitCode", "Node", "NodeOptions", "State"]
