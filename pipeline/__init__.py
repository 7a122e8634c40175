"""Offbeat: anomaly detection for sensor and transaction streams, one YAML file each."""

__version__ = "0.1.0"
