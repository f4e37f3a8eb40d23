"""From a recipe's model to a `transformers` model with the head a task needs."""

from __future__ import annotations

import copy
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weitiao.errors import ModelError, WeitiaoWarning
from weitiao.models.blocks import keep_blocks, with_blocks
from weitiao.models.family import family_of
from weitiao.models.fingerprint import fingerprint
from weitiao.models.folder import check_weights, model_folder
from weitiao.models.pooling import pooling_of
from weitiao.models.quiet import quiet
from weitiao.models.tokens import extend, load_tokenizer, max_length_of
from weitiao.recipe import ModelSettings
from weitiao.records import Finding, Head, Pretrained, Reader
from weitiao.sources import Progress, fetch

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

POOLER = re.compile(r"(^|\.)pooler\.")  # a body may be published without one (e5); a new one is learned with the head
TRUST = "Set model.trust_remote_code: true if you have read that code and trust it."


def open_pretrained(settings: ModelSettings, *, base: Path, progress: Progress | None = None) -> Pretrained:
    """Fetch a model and read its config and tokenizer; no weights are loaded. Paths count from `base`.

    The tokenizer comes back able to pad, padding and cutting on the right, with the recipe's new tokens. Raises a
    `ModelError` when anything is missing or cannot be used.
    """
    if settings.trust_remote_code:  # told before any of it runs
        warnings.warn(f"Python code inside {settings.source} may be run", WeitiaoWarning, stacklevel=2)
    fetched = fetch(settings.source, base=base, kind="model", revision=settings.revision, progress=progress)
    folder = model_folder(fetched, settings.source, progress)
    with quiet():
        config = _read_config(folder, settings.trust_remote_code)
        if settings.layers is not None:
            config = with_blocks(config, settings.layers)
        check_weights(folder, config.to_dict())
        family = family_of(config)
        tokenizer = load_tokenizer(folder, trust_remote_code=settings.trust_remote_code)
        added = extend(tokenizer, settings, family)
        feature_extractor = _feature_extractor(folder)
    extra = [f"pad {settings.pad_token}"] if settings.pad_token else []
    extra += [f"layers {settings.layers}"] if settings.layers is not None else []
    return Pretrained(
        source=settings.source,
        folder=folder,
        family=family,
        config=config,
        tokenizer=tokenizer,
        max_length=max_length_of(config, tokenizer),
        own_length=max_length_of(config, tokenizer),
        fingerprint=fingerprint(folder, [*extra, *settings.new_tokens]),
        trust_remote_code=settings.trust_remote_code,
        new_tokens=added,
        feature_extractor=feature_extractor,
        layers=tuple(settings.layers or ()),
        pooling=pooling_of(folder) or getattr(config, "sentence_pooling", None),
    )


def open_reader(folder: Path, max_length: int, *, trust_remote_code: bool = False) -> Reader:
    """Return how the model in an artifact's folder reads."""
    with quiet():
        config = _read_config(folder, trust_remote_code)
        tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
        return Reader(family_of(config), tokenizer, max_length, _feature_extractor(folder))


def _feature_extractor(folder: Path) -> Any:
    """What turns sound into a speech model's inputs; None for a model of text."""
    from transformers import AutoFeatureExtractor

    if not any((folder / name).exists() for name in ("preprocessor_config.json", "processor_config.json")):
        return None
    try:
        return AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError):  # of another kind, such as an image processor
        return None


def check_head(pretrained: Pretrained, head: Head) -> list[Finding]:
    """Check that the model takes this head and that all of its body is in the weight files, without reading the values.

    Raises the same `ModelError`s as `load_model`; returns what is worth knowing: a new pooler, a new language-model
    head, a head that is taken over, padding with the end of text.
    """
    if head.parts:
        found = [finding for part in head.parts.values() for finding in check_head(pretrained, part)]
        return list(dict.fromkeys(found))
    with quiet():
        model, missing = _loaded(pretrained, head, device_map="meta")
    findings = [*_new_weights(model, missing, pretrained, head), *_token_findings(pretrained, model)]
    return [Finding(level, "model", problem, fix) for level, problem, fix in findings]


def has_head(pretrained: Pretrained, head: Head) -> bool:
    """Whether the files hold all of this head's weights; the values are not read. Raises as `load_model` does."""
    with quiet():
        _, missing = _loaded(pretrained, head, device_map="meta")
    return all(POOLER.search(name) for name in missing)


def load_model(pretrained: Pretrained, head: Head, *, seed: int) -> torch.nn.Module:
    """Return the model in fp32 on the CPU with the head a task needs; weights that are not in the files are drawn from
    `seed`, and the caller's random numbers go on as if nothing had been drawn.

    A `ModelError` when the architecture has no such head, or when weights of the body are missing: a body of random
    numbers never passes silently.
    """  # fmt: skip
    import torch

    if head.parts:
        from weitiao.models.shared import SharedBody

        return SharedBody({name: load_model(pretrained, part, seed=seed) for name, part in head.parts.items()})
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, _ = _loaded(pretrained, head)
        model.name_or_path = pretrained.source  # what an adapter names as its base: no folder of this machine
        tokens = _highest_token(pretrained.tokenizer) + 1
        if tokens > model.get_input_embeddings().num_embeddings:
            model.resize_token_embeddings(tokens)  # the library draws new rows around the mean of the old
    loaded: torch.nn.Module = model
    return loaded


def load_saved(folder: Path, head: Head, *, trust_remote_code: bool = False) -> torch.nn.Module:
    """Return the model that an artifact's folder holds, in fp32 and ready to predict."""
    import torch
    import transformers

    if head.parts:
        from weitiao.models.shared import SharedBody

        return SharedBody({name: load_saved(folder / name, part) for name, part in head.parts.items()}).eval()
    if head.pooling is None:
        kind: Any = getattr(transformers, head.auto_class)
    else:
        from weitiao.models.pooled import pooled_class

        kind = pooled_class(_read_config(folder, trust_remote_code))
    model: torch.nn.Module = kind.from_pretrained(folder, dtype=torch.float32, trust_remote_code=trust_remote_code)
    model.eval()
    return model


def configured(pretrained: Pretrained, head: Head) -> PreTrainedConfig:
    """Return a copy of the model's config with the head's values and the tokenizer's pad token in it."""
    config = copy.deepcopy(pretrained.config)
    if head.pooling is None and hasattr(config, "sentence_pooling"):
        del config.sentence_pooling  # of the head that it had
    config.update(dict(head.config))
    for part in (config, config.get_text_config()):
        part.pad_token_id = pretrained.tokenizer.pad_token_id
    return config


def _read_config(folder: Path, trust_remote_code: bool) -> PreTrainedConfig:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except Exception as error:  # config classes of all kinds check their values in their own ways
        text = str(error)
        if "trust_remote_code" in text:
            problem, fix = f"the model in {folder} needs Python code of its own", TRUST
        elif "does not recognize this architecture" in text:
            kind = (re.search(r"model type `([^`]*)`", text) or ["", "?"])[1]
            problem = f"the installed transformers does not know the architecture '{kind}' of {folder}"
            fix = "Choose another model, or a newer transformers."
        elif "model_type" in text:
            problem, fix = f"{folder}/config.json names no model_type", "Is it the config of a transformers model?"
        else:
            problem, fix = f"{folder}/config.json cannot be read: {_first_line(error)}", ""
        raise ModelError(problem, where="model", fix=fix) from None


def _auto_class(pretrained: Pretrained, head: Head) -> Any:
    """Return the class for this head, once it is sure that it takes this model."""
    import transformers

    if head.pooling is not None:
        from weitiao.models.denoising import vector_class

        return vector_class(pretrained.config, head)
    auto_class: Any = getattr(transformers, head.auto_class)
    own_code = getattr(pretrained.config, "auto_map", None) or {}
    if type(pretrained.config) in auto_class._model_mapping or head.auto_class in own_code:
        return auto_class
    problem = f"{pretrained.source} is a '{pretrained.config.model_type}' model, which has no {head.auto_class}"
    raise ModelError(problem, where="model", fix="Choose another model, or a task that it was made for.")


def _loaded(pretrained: Pretrained, head: Head, **options: Any) -> tuple[PreTrainedModel, set[str]]:
    """Load the model; return it with the names of its parameters that the files do not hold in the right shape.

    Where some of its blocks are kept, all are loaded and the others taken out.
    """
    import torch

    whole = pretrained
    if pretrained.layers:
        whole = replace(pretrained, config=_read_config(pretrained.folder, pretrained.trust_remote_code), layers=())
    try:
        model, info = _auto_class(pretrained, head).from_pretrained(
            pretrained.folder,
            config=configured(whole, head),
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # a head for other labels is drawn anew; a body is refused below
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=pretrained.trust_remote_code,
            **options,
        )
    except ModelError:
        raise
    except MemoryError:
        raise ModelError(f"{pretrained.source} does not fit into memory", where="model") from None
    except Exception as error:  # safetensors raises classes of Rust, transformers nearly all there are
        fix = TRUST if "trust_remote_code" in str(error) else "The folder may be damaged: fetch it again."
        problem = f"{pretrained.folder} cannot be loaded: {_first_line(error)}"
        raise ModelError(problem, where="model", fix=fix) from None
    mismatched = {name for name, *_ in info["mismatched_keys"]}
    missing = set(info["missing_keys"]) | mismatched
    _check_body(model, missing, mismatched, pretrained)
    if pretrained.layers:
        keep_blocks(model, pretrained.layers)
    return model, missing


def _is_head(name: str, model: PreTrainedModel) -> bool:
    prefix, added = model.base_model_prefix, tuple(f"{each}." for each in getattr(model, "added", ()))
    outside = hasattr(model, prefix) and not name.startswith(f"{prefix}.")
    return bool(POOLER.search(name)) or outside or name.startswith(added)


def _check_body(model: PreTrainedModel, missing: set[str], mismatched: set[str], pretrained: Pretrained) -> None:
    body = sorted(name for name in missing if not _is_head(name, model))
    if not body:
        return
    what = "have another shape than config.json says" if mismatched & set(body) else "are not in the weight files"
    shown = ", ".join(body[:3]) + (", ..." if len(body) > 3 else "")
    problem = f"{len(body)} of the pretrained weights of {pretrained.source} {what}: {shown}"
    fix = "They would be random numbers. config.json and the weights do not belong together, or files are missing."
    raise ModelError(problem, where="model", fix=fix)


def _new_weights(
    model: PreTrainedModel, missing: set[str], pretrained: Pretrained, head: Head
) -> list[tuple[Any, str, str]]:
    found: list[tuple[Any, str, str]] = []
    if any(POOLER.search(name) for name in missing):
        found.append(("note", f"{pretrained.source} has no pooler: a new one is learned with the head", ""))
    new = {name for name in missing if not POOLER.search(name)}
    if new and head.logits == "token":
        problem = f"{pretrained.source} has no head for {head.auto_class}: a new one starts from random numbers"
        found.append(("warning", problem, "Choose a model that was pretrained for this."))
    own = [name for name, _ in model.named_parameters() if _is_head(name, model) and not POOLER.search(name)]
    if own and not new and head.logits != "token":
        found.append(("note", f"{pretrained.source} has a head of the same shape already: training starts from it", ""))
    return found


def _token_findings(pretrained: Pretrained, model: PreTrainedModel) -> list[tuple[Any, str, str]]:
    tokenizer, found = pretrained.tokenizer, []
    rows = model.get_input_embeddings().num_embeddings
    strangers = _highest_token(tokenizer) + 1 - rows - len(pretrained.new_tokens)
    if strangers > 0:
        problem = f"the tokenizer knows {strangers} tokens more than the model: rows are added to its embeddings"
        found.append(("warning", problem, "Check that tokenizer and weights belong together."))
    if tokenizer.pad_token == tokenizer.eos_token and pretrained.reads == "text":  # Whisper reads no padding
        problem = f"the tokenizer pads with '{tokenizer.pad_token}', its end of text"
        found.append(("note", problem, "Set model.pad_token for another."))
    return found


def _highest_token(tokenizer: PreTrainedTokenizerBase) -> int:
    return max(int(number) for number in tokenizer.get_vocab().values())


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
