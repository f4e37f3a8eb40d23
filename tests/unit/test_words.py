"""Scores are said and written as the field does, and the right way round."""

from __future__ import annotations

import pytest

from weitiao.metrics.words import distance, figure, greater_is_better, in_points, is_share, kind, scale, spoken, written


@pytest.mark.parametrize(
    ("score", "value", "said", "as_written", "lower"),
    [
        ("accuracy", 0.921, "accuracy", "92.1%", False),
        ("macro_f1", 0.5, "macro F1", "50.0%", False),
        ("partial_f1", 0.5, "partial F1", "50.0%", False),
        ("token_accuracy", 0.98, "token accuracy", "98.0%", False),
        ("exact_match", 0.25, "exact match", "25.0%", False),
        ("no_answer_f1", 0.25, "no-answer F1", "25.0%", False),
        ("no_answer_accuracy", 0.25, "no-answer accuracy", "25.0%", False),
        ("has_answer_exact_match", 0.25, "has-answer exact match", "25.0%", False),
        ("spearman", 0.7123, "Spearman", "0.712", False),
        ("pearson", -0.0001, "Pearson", "0.000", False),
        ("r2", -1.5, "R²", "-1.500", False),
        ("rmse", 0.31416, "RMSE", "0.3142", True),
        ("mae", 1234.5, "MAE", "1,234.5", True),
        ("bleu", 23.41, "BLEU", "23.4", False),
        ("chrf", 45.06, "chrF", "45.1", False),
        ("rouge1", 0.412, "ROUGE-1", "41.2%", False),
        ("rouge2", 0.2, "ROUGE-2", "20.0%", False),
        ("rougeL", 0.381, "ROUGE-L", "38.1%", False),
        ("wer", 0.081, "WER", "8.1%", True),
        ("cer", 1.02, "CER", "102.0%", True),
        ("pass_at_1", 0.3, "pass@1", "30.0%", False),
        ("pass_at_10", 0.3, "pass@10", "30.0%", False),
        ("loss", 0.31416, "loss", "0.3142", True),
        ("log_loss", 12.345, "log loss", "12.3", True),
        ("hamming_loss", 0.031, "hamming loss", "3.1%", True),
        ("ece", 0.05, "calibration error", "5.0%", True),
        ("perplexity", 7.123, "perplexity", "7.12", True),
        ("perplexity", 12.34, "perplexity", "12.3", True),
        ("general_perplexity", 12345.6, "general perplexity", "12,346", True),
        ("ner.f1", 0.5, "F1 (ner)", "50.0%", False),
        ("my_task.log_loss", 0.5, "log loss (my_task)", "0.5000", True),
    ],
)
def test_each_score(score, value, said, as_written, lower):
    assert spoken(score) == said
    assert written(score, value) == as_written
    assert written(score, value, unit=False) == as_written.removesuffix("%")
    assert greater_is_better(score) is not lower
    assert is_share(score) is as_written.endswith("%")


@pytest.mark.parametrize(
    ("score", "difference", "told"),
    [
        ("accuracy", -0.041, "4.1 points of accuracy"),
        ("bleu", 1.26, "1.3 points of BLEU"),
        ("spearman", -0.0412, "0.041 of Spearman"),
        ("perplexity", 2.5, "2.50 of perplexity"),
        ("rmse", 0.01, "0.0100 of RMSE"),
        ("pseudo_perplexity", -347_915.42, "347,915 of pseudo perplexity"),
        ("mse", 43_215.4, "43,215 of MSE"),
    ],
)
def test_differences(score, difference, told):
    assert distance(score, difference) == told
    factor, digits = scale(score, difference)
    assert f"{abs(factor * difference):,.{digits}f}" == told.split()[0]
    assert in_points(score) is ("points" in told)


@pytest.mark.parametrize(
    ("value", "digits", "told"),
    [(0.8123, 3, "0.812"), (-9.87654, 4, "-9.8765"), (50.288, 3, "50.29"), (160.73, 3, "160.7"),
     (10_470.301, 3, "10,470"), (10_470.301, 4, "10,470"), (float("inf"), 3, "inf")],
)  # fmt: skip
def test_figures_have_fewer_digits_the_larger_they_are(value, digits, told):
    assert figure(value, digits) == told


def test_what_is_not_known_is_a_share():
    assert kind("toxicity") == "share"
    assert greater_is_better("toxicity")
