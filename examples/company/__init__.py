"""A company of 2,000 people at work, seeded, with labelled attacks among it: what detectors are measured on."""

from examples.company.company import Company
from examples.company.stories import STRENGTHS, Label, Story, Strength
from examples.company.writing import Happened

__all__ = ["STRENGTHS", "Company", "Happened", "Label", "Story", "Strength"]
