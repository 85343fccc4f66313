"""Exact optimisations of the integer network: fewer operations, the same bits."""

from vmcu.optimise.dead_channels import drop_dead_channels

__all__ = ["drop_dead_channels"]
