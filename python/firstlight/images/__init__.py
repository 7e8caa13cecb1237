"""Pixels, masks, PSFs, WCS, calibrations, catalogues and the instrument interface."""
