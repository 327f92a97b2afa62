"""Compiled programs as pictures."""
