"""Why a family cannot be derived: the one error that the steps of the derivation raise."""

from ream.errors import UserError

# What transformers' modelling code raises when it is probed with a configuration or an input that it does not take.
PROBED = (AttributeError, ImportError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)


class NotDerivableError(UserError):
    """The model cannot be handled; the message is half a sentence that says why, completed by `derive.derive`."""
