from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def load_example(examples: Path) -> Callable[[str], ModuleType]:
    """Import a script of the examples, which are no package; each once."""

    @cache
    def load(name: str) -> ModuleType:
        spec = spec_from_file_location(name, examples / f"{name}.py")
        module = module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load
