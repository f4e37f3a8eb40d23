"""The rules of a diagnosis: each looks at the signs of one trouble, and at what was found before it.

Their thresholds are reasons, not fits: they stand beside the rule that uses them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from weitiao.evaluation.remedies import (
    fewer_epochs,
    larger,
    longer,
    lower,
    number,
    smaller,
    smoothed_labels,
    stronger,
)  # fmt: skip
from weitiao.evaluation.signs import Signs
from weitiao.evaluation.troubles import Change, Level, Trouble
from weitiao.metrics.words import spoken, written

FAR = 5.0  # times the usual learning rate, or a fifth of it, from which on it is suspect; a third is not
UNLEARNED = 0.1  # share by which the training loss fell: less is as good as nothing, where there was all to learn
LARGE_GAP = 0.1  # of a share, between training examples and validation: usual up to it in sound fine-tuning
LARGE_LOSS_GAP = 0.3  # the same of losses, as a share of that on validation
KNOWN = 0.8  # of what can be reached above chance on training examples: from there on they count as learned
HALF_WAY = 0.5  # the same: below it they are not even half learned
SOUND, SPOILED = 0.93, 0.8  # share right of the surest fifth with sound labels, and with a fifth of them wrong
FEW, FEW_EACH = 200, 20  # training examples in all, and of each label: fewer are too few to learn most tasks from
SOME, SOME_EACH = 1000, 50  # fewer may be
HELD = 20  # examples held out: of fewer, no score means anything

Found = Mapping[str, Trouble]


def _too_high(seen: Signs, _: Found) -> Trouble | None:
    """Steps that are too large: training breaks down, or two of these agree: its loss rises a seventh above where it
    began, noise taken off; it rises again and again; nothing is learned, or is lost again; the rate is far above the
    usual one. Each alone may have another cause.
    """
    evidence, times = [], _times_usual(seen)
    broke = "diverged" in seen.error or seen.not_finite >= 2 or seen.rolled_back > 0
    if broke:
        counts = [(seen.not_finite, "skipped steps, not finite"), (seen.rolled_back, "roll-backs")]
        told = ", ".join(f"{count} {what}" for count, what in counts if count)
        evidence.append(f"Training broke down: {told or seen.error}.")
    lost, idle = _fell_back(seen), _learned_nothing(seen)
    evidence += [each for each in (lost, idle) if each]
    if seen.peak > 1.15:
        evidence.append(f"The training loss rose to {seen.peak:.2f} times what it was at the start.")
    if seen.rises >= 2:
        evidence.append(f"The training loss rose by far more than noise {seen.rises} times.")
    if times >= FAR:
        evidence.append(f"The learning rate of {seen.rate:g} is {times:.3g} times the usual {seen.usual:g}.")
    if len(evidence) < 2 - broke or (idle and 0 < times <= 1 / FAR):
        return None
    return Trouble("learning rate too high", "clear", evidence, [lower(seen), Change("training.warmup", "0.2")])


def _too_low(seen: Signs, found: Found) -> Trouble | None:
    """Steps that are too small: the rate is a fifth of the usual or less, and what could be learned was not."""
    times = _times_usual(seen)
    if "learning rate too high" in found or not 0 < times <= 1 / FAR or _is_known(seen):
        return None
    idle = _learned_nothing(seen)
    evidence = [
        idle or _fell_by(seen),
        f"The learning rate of {seen.rate:.2g} is 1/{1 / times:.0f} of the usual {seen.usual:g}.",
    ]
    level: Level = "clear" if idle or not _is_half_known(seen) else "mild"
    return Trouble("learning rate too low", level, evidence, [Change("training.learning_rate", number(seen.usual))])


def _labels(seen: Signs, found: Found) -> Trouble | None:
    """Labels that are wrong: where they are sound, those that the model is surest of are right in over nine of ten
    cases, even of a weak model; wrong ones are spread over the sure, too. It is clear where what was seen is 20 times
    likelier with a fifth of the labels wrong. It must have learned something, from enough examples of each label, and
    not know its training examples by heart.
    """
    known = [each for each in seen.final if each.surest and each.surest[1] >= 10]
    each_label = seen.examples.get("train", 0) / max(seen.labels, 1)
    if not known or not seen.labels or each_label < SOME_EACH or "learning rate too high" in found:
        return None
    count = sum(each.surest[1] for each in known if each.surest)
    right = sum(each.surest[0] * each.surest[1] for each in known if each.surest) / count
    value = max(each.value for each in known)
    learned = value - seen.least > max(0.1 * (1 - seen.least), 2 * seen.error_of(value, "validation"))
    here = seen.score(seen.at_kept, "train")
    if not learned or (here is not None and seen.shares and seen.above_chance(here) > 0.95):
        return None
    wrong = count * (1 - right)
    weight = (count - wrong) * math.log(SPOILED / SOUND) + wrong * math.log((1 - SPOILED) / (1 - SOUND))
    if weight < math.log(5):
        return None
    where = " and ".join(each.split for each in known)
    evidence = [f"Of the fifth of {where} that the model is surest of, {right:.0%} are right ({count:,} examples)."]
    if seen.risen > 0.1:
        evidence.append(f"What it learned after that did harm: the loss on validation rose by {seen.risen:.0%}.")
    source = seen.options.get("data", {}).get("train", "DATA")
    return Trouble(
        "noisy labels", "clear" if weight >= math.log(20) else "mild", evidence,
        [*smoothed_labels(seen), *fewer_epochs(seen)],
        [f"Run `weitiao audit {source}`: it lists the labels that are likely wrong."],
    )  # fmt: skip


def _too_little(seen: Signs, found: Found) -> Trouble | None:
    """Few examples, known by heart, and a gap to validation at the very step that is kept; or so few that nothing can
    be told: a score on 20 examples is off by 22 points in one case of 20.
    """
    train, held = seen.examples.get("train", 0), max(seen.examples.get(name, 0) for name in ("validation", "test"))
    if not train or "learning rate too high" in found or "learning rate too low" in found:
        return None
    each_label = train / seen.labels if seen.labels else math.inf
    few, some = train < FEW or each_label < FEW_EACH, train < SOME or each_label < SOME_EACH
    dark, gap = train < FEW and 0 < held < HELD, _not_carried_over(seen, train)
    if not dark and not (some and gap):
        return None
    each = f", {each_label:.3g} of each label" if seen.labels else ""
    evidence = [gap] if gap else []
    evidence.append(f"There are {train:,} training examples{each}.")
    if dark:
        evidence.append(
            f"A score on {held} others may be off by {100 / math.sqrt(held):.0f} points: nothing can be told."
        )
    return Trouble(
        "too little data", "clear" if few else "mild", evidence, smaller(seen),
        ["Label more examples, or make some of those there are: `weitiao augment`."],
    )  # fmt: skip


def _not_carried_over(seen: Signs, train: int) -> str:
    """The evidence that training examples are learned and validation is far behind at the step that is kept; ""."""
    here, share = seen.score(seen.at_kept, "train"), seen.gap(seen.at_kept)
    gap, told = _apart(seen)
    by_heart = here is None or not seen.shares or seen.above_chance(here) >= KNOWN
    if not by_heart or gap is None or gap < 1:
        return ""
    if share is not None and share < 2 * seen.gap_error(seen.at_kept) and train >= 100:
        return ""  # of fewer examples, the few of validation cannot tell
    return told


def _overfits(seen: Signs, found: Found) -> Trouble | None:
    """Training examples get better while validation gets worse. In sound fine-tuning the loss on validation rises by a
    few percent after its lowest; a quarter is no accident. What early stopping cut off in time is mild: where the
    step that is kept has no large gap yet, and training did not go on for as long again.
    """
    if "learning rate too high" in found or len(seen.measures) < 2:
        return None
    last, kept = seen.measures[-1], seen.at_kept
    here, there = (seen.loss_at(last, split) for split in ("train", "validation"))
    here = here if here is not None else seen.last
    apart = seen.gap(last)
    noise = 2 * seen.gap_error(last) if seen.examples.get("train", 0) >= 100 else 0.0  # else validation cannot tell
    far = apart > max(LARGE_GAP, noise) if apart is not None else there is not None and there > 1.5 * here
    if not far:
        return None
    at_kept = seen.gap(kept)
    evidence = []
    if apart is not None:
        evidence.append(f"{_score(seen)} is {_as(seen, last, 'train')} on training examples and "
                        f"{_as(seen, last, 'validation')} on validation at the last evaluation.")  # fmt: skip
    elif there is not None:
        evidence.append(f"The loss is {here:.3g} on training examples and {there:.3g} on validation at the end.")
    if seen.risen > 0.02:
        evidence.append(f"The loss on validation rose by {seen.risen:.0%} after its lowest.")
    worse = seen.risen >= 0.25
    on = bool(seen.kept) and int(seen.steps[-1]) >= 2 * (seen.kept or 0)  # as long again as it took to the best step
    level: Level = "clear" if worse and (on or at_kept is None or at_kept >= LARGE_GAP) else "mild"
    if level == "mild" and seen.risen < 0.1 and (apart or 0) < 1.5 * LARGE_GAP:
        return None
    if seen.kept and seen.kept < int(seen.steps[-1]):
        evidence.append(f"The weights of step {seen.kept:,} of {int(seen.steps[-1]):,} are kept, before most of that.")
    return Trouble("overfits", level, evidence, [*fewer_epochs(seen), *stronger(seen)])


def _underfits(seen: Signs, found: Found) -> Trouble | None:
    """Training examples are not learned, validation is no worse than they are, and neither rate nor labels explain it.

    A bag of words that does better, or less than half of the way from chance to all right, is clear.
    """
    if {"learning rate too high", "learning rate too low", "noisy labels"} & set(found) or _is_known(seen):
        return None
    last = seen.score(seen.measures[-1], "train") if seen.measures else None
    if last is not None and seen.shares and seen.above_chance(last) >= KNOWN:
        return None  # learned later, after the step that is kept
    gap, _ = _apart(seen)
    if gap is not None and gap >= 1:
        return None
    half, strong = _is_half_known(seen), list(_strong(seen))
    if half and not seen.ahead and not strong:
        return None
    here = seen.score(seen.at_kept, "train")
    if seen.shares and here is not None:
        evidence = [f"{_score(seen)} is {written(seen.primary, here)} on training examples, "
                    f"{_as(seen, seen.at_kept, 'validation')} on validation; chance is {seen.least:.0%}."]  # fmt: skip
    else:
        evidence = [_fell_by(seen)]
    evidence += [f"{seen.ahead[:1].upper()}{seen.ahead[1:]}."] if seen.ahead else []
    evidence += [told for told, _ in strong]
    changes = [change for _, change in strong] or longer(seen)
    level: Level = "clear" if not half or strong else "mild"
    return Trouble("underfits", level, evidence, [*changes, *larger(seen)])


def _too_early(seen: Signs, found: Found) -> Trouble | None:
    """The last evaluation is the best, the loss was still falling, and training examples are not learned yet.

    Between the middle and the last third of the steps a twentieth of the first loss or more was still learned, although
    the rate falls towards the end. Not where somebody stopped it, or early stopping did.
    """
    stopped = seen.status != "finished" or seen.ended.startswith("no better score")
    if stopped or {"learning rate too high", "learning rate too low"} & set(found) or _is_known(seen):
        return None
    last = seen.measures[-1].step if seen.measures else None
    if (last is not None and seen.kept != last) or seen.risen > 0.0 or seen.falling < 0.05:
        return None
    evidence = [f"The training loss was still falling: from the middle third of the {len(seen.steps):,} steps to the "
                f"last by {seen.falling:.0%} of its first value."]  # fmt: skip
    if last is not None and len(seen.measures) > 1:
        evidence.append("The last evaluation on validation is the best one.")
    level: Level = "mild" if _is_half_known(seen) else "clear"
    return Trouble("stopped too early", level, evidence, longer(seen))


def _unstable(seen: Signs, _: Found) -> Trouble | None:
    """Loss or score jump: by more than three standard errors, again and again; once is an accident. Spikes of single
    steps that neither shows are mild.
    """  # fmt: skip
    falls, evidence = seen.falls, []
    if seen.rises:
        evidence.append(
            f"The training loss rose by far more than noise {seen.rises} times, of "
            f"{len(seen.windows()[0]) - 1} looked at."
        )
    if falls:
        most = max(falls, key=lambda each: each[1])
        evidence.append(f"{_score(seen)} on validation fell {len(falls)} times from an evaluation to "
                        f"the next, by {100 * most[1]:.0f} points at step {most[0]:,}.")  # fmt: skip
    if seen.spikes:
        evidence.append(f"There were {seen.spikes} spikes of the loss.")
    many = seen.rises >= 2 or len(falls) >= 2
    if not many and seen.spikes < 3 and bool(seen.rises) + bool(falls) + bool(seen.spikes) < 2:
        return None
    changes = [lower(seen)]
    if seen.batch < 16:
        changes.insert(0, Change("training.batch_size", "32", "the gradient of a few examples is noise"))
    if seen.options.get("training", {}).get("clip_norm") is None:
        changes.append(Change("training.clip_norm", "1.0"))
    return Trouble("unstable", "clear" if many else "mild", evidence, [*changes, Change("training.warmup", "0.2")])


def _unlike(seen: Signs, _: Found) -> Trouble | None:
    """Scores on validation and test that chance would give once in 370 times, and that are 3 points apart or more."""
    if [each.split for each in seen.final] != ["validation", "test"]:
        return None
    one, other = seen.final
    apart, noise = abs(one.value - other.value), math.hypot(one.error or 0, other.error or 0)
    if not noise or not math.isfinite(apart) or apart < 3 * noise or (seen.shares and apart < 0.03):
        return None
    values = [written(seen.primary, each.value) for each in seen.final]
    told = f"{_score(seen)} is {values[0]} on validation and {values[1]} on test"
    evidence = [f"{told}, {apart / noise:.1f} standard errors apart."]
    data = seen.options.get("data", {})
    changes = [Change("data.validation", "null", "cut it from the training data")] if data.get("validation") else []
    files = [str(data.get(name) or name.upper()) for name in ("validation", "test")]
    look = f"Run `weitiao audit {files[0]} --against {files[1]}`: it says in what they differ."
    return Trouble("validation unlike test", "clear" if apart > 4 * noise else "mild", evidence, changes, [look])


RULES: tuple[Callable[[Signs, Found], Trouble | None], ...] = (
    _too_high, _too_low, _labels, _too_little, _overfits, _underfits, _too_early, _unstable, _unlike,
)  # fmt: skip


# --- what the rules share


def _times_usual(seen: Signs) -> float:
    """How many times the usual learning rate it is; 0 where that is not known."""
    return seen.rate / seen.usual if seen.usual and seen.rate else 0.0


def _learned_nothing(seen: Signs) -> str:
    """The evidence that next to nothing was learned; "" where something was, or where that is not known."""
    value = seen.score(seen.at_kept, "validation")
    if seen.learned >= UNLEARNED or not (seen.labels or seen.shares) or not len(seen.losses):
        return ""
    course = f"the training loss went from {seen.began:.3g} to {seen.last:.3g}"
    if seen.shares and value is not None:
        noise = 2 * seen.error_of(value, "validation")
        if value - seen.least > max(0.1 * (1 - seen.least), noise):
            return ""
        told = f"{spoken(seen.primary)} on validation is {written(seen.primary, value)}"
        return f"Next to nothing was learned: {told}, {seen.least:.0%} without reading; {course}."
    return f"Next to nothing was learned: {course}."


def _fell_back(seen: Signs) -> str:
    """The evidence that what had been learned was lost again: back to near chance on training examples, too."""
    values = [value for each in seen.measures if (value := seen.score(each, "validation")) is not None]
    here = seen.score(seen.measures[-1], "train") if seen.measures else None
    if not seen.shares or len(values) < 2 or (here is not None and seen.above_chance(here) > 0.3):
        return ""
    best, last = (seen.above_chance(value) for value in (max(values), values[-1]))
    if best < 0.3 or last > best / 2:
        return ""
    return (f"What was learned was lost again: {spoken(seen.primary)} on validation went from "
            f"{written(seen.primary, max(values))} to {written(seen.primary, values[-1])}.")  # fmt: skip


def _reached(seen: Signs) -> float:
    """How much of the training examples is learned at the step that is kept, 0 to 1: by their score above chance, by
    their loss below that of who does not read, or by the loss of the steps.
    """
    here = seen.score(seen.at_kept, "train")
    if seen.shares and here is not None:
        return seen.above_chance(here)
    loss = seen.loss_at(seen.at_kept, "train")
    if loss is not None and seen.ignorant:
        return 1 - loss / seen.ignorant
    return seen.learned


def _is_known(seen: Signs) -> bool:
    return _reached(seen) >= KNOWN


def _is_half_known(seen: Signs) -> bool:
    """Of a model that begins with what it knows, such as a language model, the loss does not tell."""
    return _reached(seen) >= HALF_WAY or not (seen.labels or seen.chance)


def _apart(seen: Signs) -> tuple[float | None, str]:
    """How far training examples and validation are apart at the step that is kept, 1 being far, and in words; losses
    stand in for scores that are no shares, or were not taken.
    """  # fmt: skip
    kept = seen.at_kept
    gap = seen.gap(kept)
    if gap is not None:
        told = f"{_score(seen)} is {_as(seen, kept, 'train')} on training examples and "
        return gap / LARGE_GAP, f"{told}{_as(seen, kept, 'validation')} on validation at the step that is kept."
    here, there = seen.loss_at(kept, "train"), seen.loss_at(kept, "validation")
    here = here if here is not None else _step_loss(seen, kept.step) if kept else None
    if here is None or there is None or there <= 0:
        return None, ""
    told = f"The loss is {here:.3g} on training examples and {there:.3g} on validation."
    return max(1 - here / there, 0.0) / LARGE_LOSS_GAP, told


def _step_loss(seen: Signs, step: int) -> float | None:
    """The mean loss of the steps of the epoch before a step."""
    there = (seen.steps <= step) & (seen.steps > step - seen.per_epoch)
    return float(seen.losses[there].mean()) if there.any() else None


def _score(seen: Signs) -> str:
    """The primary score's name, to begin a sentence with."""
    name = spoken(seen.primary)
    return name[:1].upper() + name[1:]


def _fell_by(seen: Signs) -> str:
    return f"The training loss fell by {max(seen.learned, 0):.0%} only, from {seen.began:.3g} to {seen.last:.3g}."


def _as(seen: Signs, measure: Any, split: str) -> str:
    value = seen.score(measure, split)
    return written(seen.primary, value) if value is not None else "not known"


def _strong(seen: Signs) -> Iterator[tuple[str, Change]]:
    """What in the recipe holds the model back, as evidence, with the change that takes it away."""
    training = seen.options.get("training", {})
    wanted = training.get("regularization", {})
    if seen.shrunk > 0.2:
        yield (f"Weight decay alone shrank the matrices by {seen.shrunk:.0%} over the run.",
               Change("training.weight_decay", "0.01"))  # fmt: skip
    for key in ("dropout", "attention_dropout"):
        if (wanted.get(key) or 0) >= 0.4:
            yield (f"training.regularization.{key} is {wanted[key]:g}; 0.1 is usual.",
                   Change(f"training.regularization.{key}", "0.1"))  # fmt: skip
    if seen.penalty > 0.3:
        name = next((key for key in ("l1", "l2", "l2_sp") if wanted.get(key)), "l2")
        yield (f"Penalties are {seen.penalty:.0%} of what is minimised.",
               Change(f"training.regularization.{name}", "0"))  # fmt: skip
    if (seen.options.get("task", {}).get("label_smoothing") or 0) >= 0.4:
        yield "The larger part of the targets is spread over all labels.", Change("task.label_smoothing", "0.1")
    if 0 < (training.get("clip_norm") or 1) < 0.01:
        yield f"Gradients are clipped to {training['clip_norm']:g}; 1 is usual.", Change("training.clip_norm", "1.0")
