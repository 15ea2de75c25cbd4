"""What a run records of how it is trained: every setting that decides its weights."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from qlvit_edge.choices import Augment, AugmentPart, Balance, Precision

WARM_UP: Final = 0.15
GRADIENT_CLIP: Final = 2.0
AVERAGE_DECAY: Final = 0.998


class TrainingSettings(BaseModel):
    """What besides the data and the network decides a training run.

    Attributes:
        epochs: in all.
        batch: images per step.
        peak_rate: highest learning rate.
        weight_decay: AdamW's, of weights with two or more axes.
        validation: share of the training images held out.
        seed: of everything random.
        settle: share of a cycle's epochs, at its end, in which colours are left as they are.
        earlier_cycles: epochs after which earlier cycles ended: a run of 24 that was extended
            to 40 has (24,), see `qlvit_edge.training.schedule`.
        balance: ``loss`` weighs classes in the loss by their inverse frequency, ``sampling``
            draws every class equally often, ``domains`` every class of every microscope.
        patience: epochs without a better one after which a cycle ends; 0: none.
        hold_out_draw: how the validation images were drawn; None where there are none, and in
            runs from before this was recorded.
        augment: what images are varied for: their own microscope, or others too.
        augment_shares: of views that a part of `qlvit_edge.data.looks` is applied to, where it
            is not the share that stands there.
        images_per_epoch: None: as many as there are.
        mixup: α of the Beta(α, α) that images are mixed by; 0: not mixed.
        label_smoothing: share of every label that is spread evenly over all classes.
        warm_up: share of the first cycle in which the rate rises.
        gradient_clip: largest norm of a step's gradient; 0: any.
        average_decay: of the moving average of the weights, per step.
        precision: in which the network is computed in training.
        compiled: whether it is compiled for that.
        channels_last: whether its maps lie with their channels last in memory.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int
    batch: int
    peak_rate: float
    weight_decay: float
    validation: float
    seed: int
    settle: float = 0.0
    earlier_cycles: tuple[int, ...] = ()
    balance: Balance = "none"
    patience: int = 0
    hold_out_draw: Literal[2] | None = None
    augment: Augment = "standard"
    augment_shares: dict[AugmentPart, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=dict
    )
    images_per_epoch: int | None = Field(default=None, ge=1)
    mixup: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    warm_up: float = Field(default=WARM_UP, ge=0, lt=1)
    gradient_clip: float = Field(default=GRADIENT_CLIP, ge=0, allow_inf_nan=False)
    average_decay: float = Field(default=AVERAGE_DECAY, ge=0, lt=1)
    precision: Precision = "float32"
    compiled: bool = False
    channels_last: bool = False

    @property
    def cycle_ends(self) -> tuple[int, ...]:
        """The epochs after which each cycle of the learning rate ends."""
        return (*self.earlier_cycles, self.epochs)

    def cycle_of(self, epoch: int) -> tuple[int, int]:
        """Return where the cycle begins that an epoch (from 0) is in, and where it ends."""
        end = next(end for end in self.cycle_ends if epoch < end)
        return max((other for other in self.earlier_cycles if other <= epoch), default=0), end
