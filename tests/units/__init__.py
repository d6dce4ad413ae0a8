"""Tests of the emulated matrix unit."""
