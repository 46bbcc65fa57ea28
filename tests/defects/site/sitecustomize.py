"""Switches one defect on in every process of Python that starts with this directory in its path: $DEFECT.

Nothing of the product knows of it: the module it is in is changed right after it has been read.
"""

import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any


class _Changed(Loader):
    """Reads a module as its own loader does, and then changes it."""

    def __init__(self, loader: Any, change: Any) -> None:
        self._loader, self._change = loader, change

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        found: ModuleType | None = self._loader.create_module(spec)
        return found

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._change(module)


class _Finder(MetaPathFinder):
    def __init__(self, name: str, change: Any) -> None:
        self._name, self._change, self._busy = name, change, False

    def find_spec(self, fullname: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        if fullname != self._name or self._busy:
            return None
        self._busy = True
        try:
            spec = find_spec(fullname)
        finally:
            self._busy = False
        if spec is not None:
            spec.loader = _Changed(spec.loader, self._change)
        return spec


def _switch_on(name: str) -> None:
    import changes

    module, change = changes.ALL[name]
    sys.meta_path.insert(0, _Finder(module, change))


if chosen := os.environ.get("DEFECT"):
    _switch_on(chosen)
