"""A company of 2,000 people at work, seeded, with attacks among it that are labelled: what detectors are measured on."""

from examples.company.company import Company, Happened
from examples.company.stories import STRENGTHS, Label, Story, Strength

__all__ = ["STRENGTHS", "Company", "Happened", "Label", "Story", "Strength"]
