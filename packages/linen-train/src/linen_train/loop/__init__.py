"""A small explicit training loop: `fit`, and what it is told with."""

from linen_train.loop.every import Every
from linen_train.loop.fit import fit
from linen_train.loop.hook import Event, Hook
from linen_train.loop.profile import Profile
from linen_train.loop.result import FitResult

__all__ = ["Event", "Every", "FitResult", "Hook", "Profile", "fit"]
