"""One scheduler node: puts store, engine, journal and API together and moves through its states."""

from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.node.node import Node, NodeOptions
from luigi_ha.appliance.node.states import State

__all__ = ["ExitCode", "Node", "NodeOptions", "State"]
