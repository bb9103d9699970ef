"""Finds what is wrong with a set of images: files, copies, labels, strangers, shortcuts."""

from bowerbird.auditing.examine import audit
from bowerbird.auditing.results import Audit, Finding

__all__ = ["Audit", "Finding", "audit"]
