"""Questions to hits: the pipeline of both stages, and the index that lasts.

How an index is stored is known by its table alone, this room's door to LanceDB and pyarrow, which is loaded when the
first index is opened. Files and formats are known by documents, models by what is passed in.
"""

from .batches import IndexedSource
from .filter import Filter
from .index import IndexChanges, IndexInfo, SearchIndex
from .pipeline import CANDIDATES, PassageList, SearchHit, SearchPipeline, ranked
from .progress import OnProgress
from .ranking import ORDERS, Candidate
from .retrieval import Mode
from .roots import Root, documents_of
from .settings import IndexOptions
