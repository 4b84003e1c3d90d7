"""Figures, plots and pages of finished and unfinished runs."""
