"""The sections of a recipe that make better data: read by `weitiao clean` and `weitiao augment`, not by `train`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from weitiao.recipe.sections import Chosen, Settings, each_chosen

PersonalKind = Literal["email", "id_card", "iban", "bank_card", "ip", "us_ssn", "phone"]
Script = Literal["Latin", "Chinese", "Japanese", "Korean", "Cyrillic", "Arabic", "other"]


class CleanSettings(Settings):
    """What `weitiao clean` does, rule by rule, in this order. Texts first, spans moving with them; then rows."""

    encoding: bool = True
    """Mend text that was decoded wrongly: `cafÃ©`, `浣犲ソ`."""
    markup: bool = True
    """Strip HTML tags and comments, and decode entities such as `&amp;`."""
    escapes: bool = False
    """Put characters in place of escapes that stand for them: `\\n` for a line break, `\\u4f60`; not in code or TeX."""
    control: bool = True
    """Take out characters that nobody sees: zero-width ones, byte order marks, control characters."""
    unicode: Literal["width", "nfc", "nfkc", "keep"] = "width"
    """`width`: full-width letters and digits become usual ones, Chinese punctuation stays. `nfc`, `nfkc`: Unicode's
    normal forms of the whole text; NFKC also turns `，` into `,` and `①` into `1`."""
    simplified: bool = False
    """Turn traditional Chinese into simplified."""
    spaces: bool = True
    """Odd blanks become usual ones, runs of blanks one, more than one empty line one; none at the ends. Blanks that
    begin a line stay: they may be code."""
    personal: Literal["keep", "mask", "drop"] = "keep"
    """`mask`: put placeholders in place of personal data, the same for the same value in all rows: `[EMAIL_1]`. `drop`:
    drop the rows that hold any."""
    personal_kinds: list[PersonalKind] = Field(list(get_args(PersonalKind)), min_length=1)
    """Which kinds of personal data."""
    ner: str | None = None
    """Of `personal`: a run of the task token-classification whose model finds people's names; they count as personal
    data, too, and one that is part of a longer one in the same row is taken for the same person."""
    ner_types: list[str] = Field([])
    """Which of its types are people; those with usual names such as `PER` when empty."""
    empty: bool = True
    """Drop rows of which a text that is needed, or the label, is empty."""
    shortest: int | None = Field(None, ge=1)
    """Drop rows whose text has fewer characters."""
    longest: int | None = Field(None, ge=1)
    """Drop rows whose text has more characters."""
    letters: float = Field(0.0, ge=0, le=1)
    """Drop rows of which less than this share of the characters, blanks not counted, are letters or digits."""
    scripts: list[Script] = Field([])
    """Keep only rows whose text is mostly in one of these scripts, such as `[Latin, Chinese]`; all when empty."""
    languages: list[Annotated[str, Field(pattern="^[a-z]{2,3}$")]] = Field([])
    """Drop rows whose text is in another language than these, ISO codes such as `[en, zh]`: by its script, or where
    that does not tell and a text has 30 letters or more by fastText's model. None when empty."""
    quality: bool = False
    """Drop rows in which `weitiao select --by quality` finds a fault: runs of words or lines that come again and again,
    few letters (Rae et al. 2021)."""
    label_spellings: bool = False
    """Write labels that differ in case, width, blanks and punctuation only as most rows do."""
    contradictions: Literal["keep", "drop", "majority"] = "majority"
    """Of rows with the same text and different labels keep all, none, or those with the label that more of them have
    than any other (none where there is no such label)."""
    duplicates: Literal["keep", "drop", "merge"] = "drop"
    """Of rows that say the same `drop` all but the first. `merge`: of rows with the same text and several labels each
    keep the first, with the labels of all."""
    near_duplicates: bool = False
    """Drop rows whose text is nearly (by 0.8) that of one before and whose label is the same; and of `train` those that
    are nearly a text of validation or test."""
    leakage: bool = True
    """Drop rows of `train` whose text stands in validation or test, and of validation what stands in test."""
    balance: Literal["keep", "undersample", "oversample"] = "keep"
    """Of `train`: drop rows of frequent labels until all are as rare as the rarest, or repeat rows of rare ones until
    all are as frequent as the most frequent."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of what `balance` draws."""

    @model_validator(mode="after")
    def _names(self) -> CleanSettings:
        if self.ner is not None and self.personal == "keep":
            raise ValueError("ner finds personal data, and personal is keep: set it to mask or drop")
        return self

    @model_validator(mode="after")
    def _range(self) -> CleanSettings:
        if self.shortest is not None and self.longest is not None and self.shortest > self.longest:
            raise ValueError(f"shortest is {self.shortest}, longest {self.longest}: no text is both")
        return self


class Amount(Settings):
    """How many new examples are made: one of `factor`, `per_class` and `balance`."""

    factor: float | None = Field(None, gt=0)
    """New examples as a multiple of those there are: 1.0 doubles the data."""
    per_class: int | None = Field(None, ge=1)
    """New examples of each class."""
    balance: bool = False
    """Rare classes grow to the size of the largest one."""
    most: float | None = Field(None, gt=1)
    """With `balance`: a class grows to so many times its own size at most."""

    @model_validator(mode="after")
    def _one(self) -> Amount:
        if (self.factor is not None) + (self.per_class is not None) + self.balance != 1:
            raise ValueError("give one of factor, per_class and balance")
        if self.most is not None and not self.balance:
            raise ValueError("most goes with balance")
        return self


class AugmentSettings(Amount):
    """What `weitiao augment` adds to the training split."""

    operators: Annotated[list[Chosen], BeforeValidator(each_chosen("operator", "augment.operators"))] = Field(
        min_length=1
    )
    """Which operators make new examples, each in turn, by name or with options: `[typos, {name: drop-words, rate:
    0.2}]`."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of all that is drawn."""

    @model_validator(mode="before")
    @classmethod
    def _doubled(cls, values: Any) -> Any:
        """As many again where nothing is said of how many."""
        said = isinstance(values, dict) and any(values.get(name) for name in ("factor", "per_class", "balance"))
        return values if said or not isinstance(values, dict) else {**values, "factor": 1.0}
