"""An option of a launch is a field and its spelling: neither goes without the other."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

from gpuops.cli import options
from gpuops.cli.estimate import OPTIONS as ESTIMATE
from gpuops.cli.launch import launch
from gpuops.cli.preflight import preflight
from gpuops.core.launch.options import LaunchOptions

SPELLED = options.PLANNING | options.SUPERVISION
WORDS = "arguments"  # what is left on the command line after the options


def test_each_field_that_can_be_typed_is_an_option():
    """What gpuops itself decides is marked as not typed."""
    typed = {one.name for one in fields(LaunchOptions) if one.metadata.get("typed", True)}

    assert typed - {WORDS} == set(SPELLED)
    assert not set(options.PLANNING) & set(options.SUPERVISION)
    assert set(ESTIMATE) <= set(options.PLANNING)


@pytest.mark.parametrize(("command", "shared"), [(launch, SPELLED), (preflight, options.PLANNING)])
def test_a_command_takes_its_options_with_the_defaults_of_the_fields(command, shared):
    """What is not typed is the field's default, or ``None`` for an empty list."""
    parameters = inspect.signature(command).parameters
    defaults = {one.name: one.default for one in fields(LaunchOptions)}

    assert set(shared) <= set(parameters)
    assert {name: defaults[name] or None for name in shared} == {
        name: parameters[name].default or None for name in shared
    }
