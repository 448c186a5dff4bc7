"""Reads an answer out of a text and judges it. Needs no torch."""
