"""Data: from a file of any known format to splits, features and batches, memory-mapped on the way."""

from __future__ import annotations

from weitiao.data.arrow import fingerprint, select_rows
from weitiao.data.batches import in_length_order, length_bucketed, longest_first, micro_batches, rows_in_epoch
from weitiao.data.checks import check_examples, empty_rows
from weitiao.data.columns import ChosenColumns, choose_columns, listed
from weitiao.data.features import column_array, encode_split, list_lengths, truncated
from weitiao.data.formats.detect import format_of
from weitiao.data.joined import join
from weitiao.data.keys import occurrences, text_keys
from weitiao.data.labels import label_codes, label_counts, lines_where, places, rename, rows_labelled
from weitiao.data.resampling import times_by_label
from weitiao.data.row_lookup import RowLookup, take_rows
from weitiao.data.shared import keep_tasks_apart
from weitiao.data.splits import Splits, open_splits
from weitiao.data.table import Table, open_table
from weitiao.data.unlabelled import copies_of, open_unlabelled, unlabelled_rows, with_targets

__all__ = [
    "ChosenColumns",
    "RowLookup",
    "Splits",
    "Table",
    "check_examples",
    "choose_columns",
    "column_array",
    "copies_of",
    "empty_rows",
    "encode_split",
    "fingerprint",
    "format_of",
    "in_length_order",
    "join",
    "keep_tasks_apart",
    "label_codes",
    "label_counts",
    "length_bucketed",
    "lines_where",
    "list_lengths",
    "listed",
    "longest_first",
    "micro_batches",
    "occurrences",
    "open_splits",
    "open_table",
    "open_unlabelled",
    "places",
    "rename",
    "rows_in_epoch",
    "rows_labelled",
    "select_rows",
    "take_rows",
    "text_keys",
    "times_by_label",
    "truncated",
    "unlabelled_rows",
    "with_targets",
]
