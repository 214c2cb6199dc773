"""The public names of `recblr.runtime`, all of them imported; the package imports this module late."""

from recblr.runtime.allow_list import AllowList as AllowList
from recblr.runtime.backends.base import Backend as Backend
from recblr.runtime.batching.metrics import BatcherMetrics as BatcherMetrics
from recblr.runtime.batching.settings import Batching as Batching
from recblr.runtime.bundle.manifest import Manifest as Manifest
from recblr.runtime.bundle.opening import Bundle as Bundle
from recblr.runtime.bundle.opening import is_bundle as is_bundle
from recblr.runtime.bundle.opening import open_bundle as open_bundle
from recblr.runtime.engine import Engine as Engine
from recblr.runtime.leasing import LeasedStates as LeasedStates
from recblr.runtime.limits import Limits as Limits
from recblr.runtime.loading import load as load
from recblr.runtime.ranking import Ranking as Ranking
from recblr.runtime.users.recommender import Recommender as Recommender
from recblr.runtime.users.stores import Append as Append
from recblr.runtime.users.stores import Event as Event
from recblr.runtime.users.stores import Store as Store
from recblr.runtime.users.stores import open_store as open_store
