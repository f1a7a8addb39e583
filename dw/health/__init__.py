"""Health of a machine: what `dw doctor` tells, and what a service asks before it takes work."""

from dw.health.finding import Finding, worst

__all__ = ["Finding", "worst"]
