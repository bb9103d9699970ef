"""Finds what is wrong with a set of images: files, copies, labels, strangers, shortcuts."""

from bowerbird.audit.examine import audit
from bowerbird.audit.results import Audit, Finding

__all__ = ["Audit", "Finding", "audit"]
