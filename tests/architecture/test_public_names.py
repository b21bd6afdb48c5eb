"""What `__all__` says is what can be imported, in every module of the engine."""

import importlib
import inspect
import pkgutil

import pytest

import rankgate

# Importing these needs an extra or starts a program.
MODULES = [
    m.name
    for m in pkgutil.walk_packages(rankgate.__path__, "rankgate.")
    if not m.name.endswith("__main__")
]


@pytest.mark.parametrize("name", ["rankgate", *MODULES])
def test_all_is_importable_and_complete(name):
    module = importlib.import_module(name)
    listed = module.__all__
    assert sorted(set(listed)) == sorted(listed), "a name stands twice in __all__"
    for item in listed:
        assert hasattr(module, item), f"{name}.{item} is in __all__ but does not exist"
    if hasattr(module, "__path__"):
        return  # packages re-export; what they define is checked in their modules
    defined = {
        n
        for n, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == name
        and not n.startswith("_")
    }
    assert defined <= set(listed), f"public but not in __all__: {sorted(defined - set(listed))}"


def test_the_surface_of_the_engine():
    assert {"Reranker", "Policy", "Candidate", "Outcome", "Gate", "Floor", "Deadline"} <= set(
        rankgate.__all__
    )
