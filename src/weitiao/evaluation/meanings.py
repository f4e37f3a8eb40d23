"""What each score means, in words."""

from __future__ import annotations

import re

ABOUT = {
    "accuracy": "share of examples whose label is right",
    "macro_f1": "mean of the labels' F1: rare labels count as much as frequent ones",
    "micro_f1": "F1 over all decisions together",
    "weighted_f1": "mean of the labels' F1, weighted by how frequent they are",
    "macro_precision": "mean over labels: of what was called so, the share that is so",
    "macro_recall": "mean over labels: of what is so, the share that was found",
    "micro_precision": "of all labels predicted, the share that is right",
    "micro_recall": "of all labels there are, the share that was found",
    "precision": "of what was called positive (the second label), the share that is",
    "recall": "of what is positive, the share that was found",
    "f1": "harmonic mean of precision and recall of the positive label",
    "roc_auc": "chance that a positive example is scored above a negative one",
    "subset_accuracy": "share of examples with all labels right",
    "hamming_loss": "share of wrong yes/no decisions",
    "log_loss": "mean surprise at the true label, in nats",
    "spearman": "how well the order is found: correlation of ranks, 1 the same order, 0 none, -1 the reverse",
    "pearson": "how well differences are found: correlation with the true numbers, 1 at best",
    "r2": "share of the true numbers' variance that is explained; 0 is what always saying the mean gives",
    "rmse": "root of the mean squared error, in the numbers' own unit: large errors count most",
    "mae": "mean distance from the true number, in its own unit",
    "mse": "mean squared error",
    "partial_f1": "F1 where an overlap of the right type counts half",
    "token_accuracy": "share of tokens with the right tag; high by itself, as most tokens are outside of entities",
    "exact_match": "share of answers that are a right one to the letter, after SQuAD's (Chinese: CMRC's) normalisation",
    "no_answer_f1": "F1 of saying that a question has no answer",
    "no_answer_accuracy": "share of the questions without an answer that got none",
    "has_answer_f1": "mean F1 of the questions that have an answer",
    "has_answer_exact_match": "exact match of the questions that have an answer",
    "rouge1": "words shared with the reference (F-measure); Chinese by characters",
    "rouge2": "pairs of neighbouring words shared with the reference (F-measure)",
    "rougeL": "longest common subsequence of words with the reference (F-measure)",
    "bleu": "n-grams shared with the references over the whole split, 0 to 100, as sacreBLEU counts them",
    "chrf": "character n-grams shared with the references, 0 to 100, as sacreBLEU counts them",
    "perplexity": "how many tokens it hesitates between on average: e to the loss",
    "pseudo_perplexity": "e to the loss of hidden tokens, with what follows in sight; no perplexity to compare with",
    "loss": "mean surprise at a token that is to be learned, in nats",
    "retrieval_accuracy": "share of texts whose copy, half of its tokens deleted, is nearer to them than to all others",
    "contrastive_loss": "mean surprise at which text a copy is of, in nats, among all that are measured",
    "alignment": "mean squared distance between the vectors of a text and of its copy",
    "uniformity": "how evenly vectors are spread over the sphere: -4 at best, 0 where all are the same",
    "wer": "words to insert, delete or replace, as a share of the reference's words; can be over 100%",
    "cer": "characters to insert, delete or replace, as a share of the reference's characters; can be over 100%",
    "mean": "mean of the tasks' primary scores: points over 100, and 1 / (1 + value) where less is better",
}  # fmt: skip

# The same name means something else where other things are counted: `Scores.details["kind"]` tells what.
OF_KIND = {
    "entities": {
        "f1": "harmonic mean of precision and recall of whole entities: start, end and type are right",
        "precision": "of the entities found, the share that is right",
        "recall": "of the entities there are, the share that was found",
        "macro_f1": "mean of the types' F1: rare types count as much as frequent ones",
    },
    "answers": {"f1": "words (Chinese: characters) shared with the nearest right answer, mean over questions"},
    "text": {"f1": "words (Chinese: characters) shared with the nearest reference, mean over examples"},
}
_PASS_AT = re.compile(r"pass_at_(\d+)")


def about(score: str, kind: str = "") -> str:
    """Return what a score means, "" where it is not known; `kind` is what was measured: ``entities``, ``answers``."""
    name = score.rpartition(".")[2]  # behind the name of one task of several
    if found := _PASS_AT.fullmatch(name):
        tries = "the first program" if found[1] == "1" else f"one of {found[1]} programs"
        return f"chance that {tries} passes all tests"
    return OF_KIND.get(kind, {}).get(name) or ABOUT.get(name, "")
