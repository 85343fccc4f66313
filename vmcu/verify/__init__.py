"""Proofs on a concrete model: firmware against reference, reference against other runtimes."""

from vmcu.verify.firmware import Verified, compare_golden, verify_model
from vmcu.verify.mismatch import Mismatch

__all__ = ["Mismatch", "Verified", "compare_golden", "verify_model"]
