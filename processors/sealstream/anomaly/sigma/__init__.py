"""Sigma rules as detectors: pySigma parses them, and they run on activity like any other detector.

https://sigmahq.io/sigma-specification: event rules, and correlations by event count, value count and in time.
"""

from sealstream.anomaly.sigma.folder import RuleFault, Rules, SigmaFolder, read_rules

__all__ = ["RuleFault", "Rules", "SigmaFolder", "read_rules"]
