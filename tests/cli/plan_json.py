"""A plan as `plan --json` and plan.json show it."""

from __future__ import annotations


def gpus_of(plan, name="index"):
    """The GPUs of a plan, by one of their names."""
    return [gpu[name] for node in plan["nodes"] for gpu in node["devices"]]


def world_size(plan):
    """How many ranks a plan has."""
    return sum(len(node["ranks"]) for node in plan["nodes"])
