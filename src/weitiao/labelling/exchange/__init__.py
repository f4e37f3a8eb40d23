"""Labels out of a project and into one, in formats that others write and read."""

from weitiao.labelling.exchange.exporting import export
from weitiao.labelling.exchange.formats import FORMATS
from weitiao.labelling.exchange.importing import Imported, import_labels

__all__ = ["FORMATS", "Imported", "export", "import_labels"]
