"""Tests of experiment/ladder."""
