"""AdaLoRA: ranks go where they matter (Zhang et al. 2023, arXiv:2303.10512), on the PEFT library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from weitiao.methods.on_peft import ADAPTER, ALL_LINEAR, OnPeft, Targets, chosen_targets, stores_transposed
from weitiao.recipe import Settings
from weitiao.records import Family

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from transformers import PreTrainedModel

AVERAGES = ("exp_avg_ipt", "exp_avg_unc")  # PEFT's names: how much a weight matters, and how unsure that is
COURSE = ("total_step", "tinit", "tfinal")  # PEFT's names: all steps, and those of the first and last phase
UNKNOWN = 10**9  # steps, until the first is done


class AdaloraOptions(Settings):
    """Options of the method `adalora`."""

    rank: int = Field(8, ge=1)
    """Rank on average at the end."""
    init_rank: int = Field(12, ge=2)
    """Rank of every update at the start; more than `rank`."""
    alpha: float | None = Field(None, gt=0)
    """Scale of the update, alpha / `init_rank`; twice `init_rank` when absent."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the input of the update."""
    tinit: float = Field(0.1, ge=0, lt=1)
    """Share of all steps before ranks begin to go."""
    tfinal: float = Field(0.3, ge=0, lt=1)
    """Share of all steps, at the end, in which they are settled."""
    delta_t: int = Field(1, ge=1)
    """Steps from one choice of ranks to the next."""
    beta1: float = Field(0.85, gt=0, lt=1)
    """How long importance is averaged over steps."""
    beta2: float = Field(0.85, gt=0, lt=1)
    """How long its uncertainty is averaged over steps."""
    orth_reg_weight: float = Field(0.5, ge=0)
    """Weight of the penalty that keeps A's rows and B's columns orthonormal."""
    targets: Targets = ALL_LINEAR
    """Layers to adapt: `all-linear` (all in the body), names such as `[query, value]`, or a regular expression over
    whole names."""

    @model_validator(mode="after")
    def _ranks_can_go(self) -> Self:
        if self.rank >= self.init_rank:
            raise ValueError("`init_rank` has to be more than `rank`: ranks go, they do not come")
        if self.tinit + self.tfinal >= 1:
            raise ValueError("`tinit` and `tfinal` together leave no steps in which ranks could go")
        return self


class Adalora(OnPeft):
    """``W x + (alpha / r) B E A x`` with W frozen and E a diagonal that is zero at the start.

    To the loss comes ``orth_reg_weight`` times the mean of ``|A A^T - 1|`` and ``|B^T B - 1|`` (Frobenius) over all
    layers. Between the first and last phase the entries of E that matter least are set to zero after each step, until
    `rank` a layer is left on average; how much one matters is ``|weight * gradient|`` of its triplet, smoothed, times
    its uncertainty. Trainable parameters: r (d_in + d_out + 1) for each adapted matrix, r being `init_rank`, plus d for
    each new token and the head; the saved adapter has only the ranks that are left.
    """

    name: ClassVar[str] = "adalora"
    whole_because: ClassVar[str] = "judges each rank by whole matrices"
    Options: ClassVar[type[Settings]] = AdaloraOptions
    options: AdaloraOptions

    def __init__(self, options: AdaloraOptions) -> None:
        self.options = options

    def learning_rate(self, family: Family, width: int) -> tuple[float, str]:
        """The paper's rates are 5e-4 to 1.2e-3 for DeBERTa; its E begins at zero, and small bodies take more."""
        return {"encoder": 2e-3, "decoder": 1e-3, "seq2seq": 2e-3}[family], f"AdaLoRA ({family})"

    def peft_config(self, model: PreTrainedModel, common: Mapping[str, Any]) -> PeftConfig:
        """PEFT's AdaLoRA; how many steps there are, it learns in the first one."""
        from peft import AdaLoraConfig

        return AdaLoraConfig(
            init_r=self.options.init_rank,
            target_r=self.options.rank,
            lora_alpha=self.options.alpha or 2 * self.options.init_rank,
            lora_dropout=self.options.dropout,
            total_step=UNKNOWN,
            deltaT=self.options.delta_t,
            beta1=self.options.beta1,
            beta2=self.options.beta2,
            orth_reg_weight=self.options.orth_reg_weight,
            target_modules=chosen_targets(model, self.options.targets),
            fan_in_fan_out=stores_transposed(model),
            **common,
        )

    def apply(self, model: PreTrainedModel, new_tokens: Sequence[int] = ()) -> torch.nn.Module:
        """Wrap the model with layers of the first rank."""
        wrapped = super().apply(model, new_tokens)
        for name, parameter in wrapped.named_parameters():
            if ".ranknum." in name:  # a constant, which PEFT (0.21) lets move on the meta device
                parameter.requires_grad_(False)
        return wrapped

    def penalty(self, model: torch.nn.Module) -> torch.Tensor | None:
        """How far A's rows and B's columns are from orthonormal (eq. 3 of the paper, the mean as PEFT takes it)."""
        import torch

        if not self.options.orth_reg_weight:
            return None
        grams = [p @ p.T if ".lora_A." in name else p.T @ p for name, p in _factors(model)]
        off = [torch.linalg.matrix_norm(gram - torch.eye(len(gram), device=gram.device)) for gram in grams]
        return self.options.orth_reg_weight * torch.stack(off).mean()

    def after_step(self, model: torch.nn.Module, step: int, steps: int) -> None:
        """Let ranks go, where it is time."""
        import torch

        tuner, config = _tuner(model), _config(model)
        if steps == 1:
            return  # nothing is known yet of what matters
        config.total_step, config.tinit = steps, int(self.options.tinit * steps)
        config.tfinal = min(int(self.options.tfinal * steps), steps - max(config.tinit + 1, 2))
        for name, parameter in model.named_parameters():
            if ".lora_" in name and parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        tuner.update_and_allocate(step)

    def state(self, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """The averages of importance, which ranks are left, and when they go."""
        import torch

        allocator, config = _tuner(model).rankallocator, _config(model)
        pattern = config.rank_pattern or {}
        kept = {f"{what}/{name}": t for what in AVERAGES for name, t in getattr(allocator, what).items()}
        left = {f"left/{name}": torch.tensor(mask) for name, mask in pattern.items()}
        course = {"course": torch.tensor([getattr(config, name) for name in COURSE])}
        return {name: tensor.detach().contiguous().clone() for name, tensor in {**kept, **left, **course}.items()}

    def restore(self, model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put them back."""
        import torch

        allocator, config, left = _tuner(model).rankallocator, _config(model), {}
        allocator.reset_ipt()
        for key, tensor in tensors.items():
            what, _, name = key.partition("/")
            if what == "course":
                for option, value in zip(COURSE, tensor.tolist(), strict=True):
                    setattr(config, option, value)
            elif what == "left":
                left[name] = tensor.tolist()
            else:
                getattr(allocator, what)[name] = tensor.clone()
                allocator.ipt[name] = torch.zeros_like(tensor)
        config.rank_pattern = left or None

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """Write the adapter in PEFT's own format, with the ranks that are left: the weights' own, which may be those of
        an earlier step than the last choice.
        """  # fmt: skip
        config = _config(model)
        before = config.rank_pattern
        values = [(name, p) for name, p in _tuner(model).model.named_parameters() if ".lora_E." in name]
        config.rank_pattern = {name: (p != 0).flatten().tolist() for name, p in values}
        super().save(model, folder)
        config.rank_pattern = before


def _factors(model: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, p) for name, p in model.named_parameters() if f".lora_A.{ADAPTER}" in name or ".lora_B." in name]


def _tuner(model: torch.nn.Module) -> Any:
    return model.base_model


def _config(model: Any) -> Any:
    return model.peft_config[ADAPTER]
