from ream.api import Comparison as Comparison
from ream.api import Compressed as Compressed
from ream.api import Estimated as Estimated
from ream.api import Evaluation as Evaluation
from ream.api import Inspected as Inspected
from ream.api import Verified as Verified
from ream.api import apply as apply
from ream.api import compare as compare
from ream.api import compress as compress
from ream.api import estimate as estimate
from ream.api import evaluate as evaluate
from ream.api import inspect as inspect
from ream.api import verify as verify
from ream.errors import UserError as UserError

__version__: str
