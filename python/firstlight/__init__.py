"""LSST-grade optical image processing that anyone can install."""

__version__ = "0.1.0"
