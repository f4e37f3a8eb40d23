"""A place to label: people and a model in turns, in a page or a terminal; what they do is on the disk at once."""

from weitiao.labelling.agreement import Agreement, agreement, cohens_kappa, krippendorffs_alpha
from weitiao.labelling.desk import Desk, Given
from weitiao.labelling.exchange import Imported, export, import_labels
from weitiao.labelling.project import Project, open_project, read_project

__all__ = [
    "Agreement",
    "Desk",
    "Given",
    "Imported",
    "Project",
    "agreement",
    "cohens_kappa",
    "export",
    "import_labels",
    "krippendorffs_alpha",
    "open_project",
    "read_project",
]
