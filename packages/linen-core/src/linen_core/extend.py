"""What packages built on linen-core may use beyond the API for models.

For layer libraries, lifted transformations and frameworks. It is documented and tested as the public
API is, but it may change with a minor version.
"""

from linen_core._fingerprint import fingerprint
from linen_core._parameter import PureInitializer

__all__ = ["PureInitializer", "fingerprint"]
