"""Find the defects of a detector on the science frames of a night, between which the sky has moved."""

from __future__ import annotations

from dataclasses import dataclass

from astropy.table import Table
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from firstlight.algorithms.fixed_pixels import PixelVotes, find_fixed_pixels, vote
from firstlight.errors import CalibrationError, NoWorkFound
from firstlight.framework import Funnel, Gate, Handle, Input, Output, PipelineTask, PipelineTaskConfig, Struct
from firstlight.images.exposure import Exposure
from firstlight.kernels.arrays import BoolArray
from firstlight.kernels.matched_filter import grow_mask
from firstlight.tasks.build_calibration import OF_EXPOSURE
from firstlight.tasks.build_defects import defect_gate, defect_table
from firstlight.tasks.frame_stack import FrameFacts, require_kinship


@dataclass(frozen=True)
class BuildNightDefectsResult(Struct):
    """What `BuildNightDefectsTask.run` returns."""

    defects: Table
    """Boxes with x0, y0, width and height [pixel], zero-based."""

    gates: tuple[Gate, ...]
    funnels: tuple[Funnel, ...]


class BuildNightDefectsConfig(PipelineTaskConfig):
    """Settings of `BuildNightDefectsTask`."""

    left_out_types: tuple[str, ...] = ("bias", "zero", "dark", "flat", "dome flat", "domeflat", "dflat", "arc", "focus")
    """Kinds of exposure that do not show the sky, as `ObservationInfo` names them."""

    min_frames: PositiveInt = 5
    """Fewer frames than this tell nothing."""

    n_sigma: PositiveFloat = 2.5
    """A pixel stands out when it differs from its surroundings by this, in units of the scatter of a frame."""

    line_sigma: PositiveFloat = 0.3
    """A whole row or column stands out when its median differs from those about it by this, in the same units."""

    min_share: float = Field(default=0.75, gt=0.5, le=1.0)
    """Share of the frames in which a defect stands out."""

    surroundings_size: PositiveInt = 7
    """Side of the square that is the surroundings of a pixel, more than twice the width of a defect [pixel]."""

    ignored_planes: tuple[str, ...] = ("NO_DATA",)
    """Mask planes whose pixels are not looked at."""

    grow: NonNegativeInt = 0
    """Neighbours within this radius of a defect become defects too [pixel]."""

    max_star_share: float = Field(default=0.2, gt=0.0, le=1.0)
    """With a larger share of the light of stars on what stands out, the sky has not moved: an error."""

    warn_star_share: float = Field(default=0.05, gt=0.0, le=1.0)
    """The same, a warning."""

    warn_fraction: PositiveFloat = 0.02
    """Fraction of defective pixels from which the gate warns."""

    max_fraction: PositiveFloat = 0.2
    """Fraction of defective pixels from which the table is not to be used."""


class BuildNightDefectsTask(PipelineTask[BuildNightDefectsConfig]):
    """Pixels that are brighter or darker than their surroundings whatever part of the sky lies on them; no darks."""

    dimensions = ("instrument", "detector")
    inputs = {"frames": Input("post_isr_image", Exposure, OF_EXPOSURE, multiple=True, deferred=True)}
    outputs = {"defects": Output("defects", Table)}

    def run(self, frames: tuple[Handle[Exposure], ...]) -> BuildNightDefectsResult:
        """Find defects on frames that were dithered or drifted by more than the size of stars.

        Frames are read one at a time; only counts are kept of them.

        Raises
        ------
        NoWorkFound
            If none of the frames shows the sky.
        CalibrationError
            If there are too few of them, or the stars stay where they are.
        InputError
            If they differ in shape, binning, detector or in what was corrected.
        """
        config = self.config
        votes, n = self._votes(frames)
        found = find_fixed_pixels(votes, min_share=config.min_share, min_seen=config.min_frames)
        if found.star_share > config.max_star_share:
            raise CalibrationError(
                f"The stars do not move on {n} frames: {found.star_share:.0%} of their light lies on pixels that stand "
                f"out in {config.min_share:.0%} of them; take frames that are dithered, or darks.",
                star_share=found.star_share,
                n_frames=n,
            )
        bad = grow_mask(found.hot | found.cold | found.lines, config.grow)
        table = defect_table(bad)
        counts = {"hot_pixels": found.hot, "cold_pixels": found.cold, "line_pixels": found.lines}
        counts["defect_pixels"] = bad
        for name, where in counts.items():
            self.metadata.count(name, int(where.sum()))
        self.log.info("defects", frames=n, boxes=len(table), **{name: int(each.sum()) for name, each in counts.items()})
        funnel = Funnel("good_pixels").then("all", bad.size).then("not_hot", int((~found.hot).sum()))
        return BuildNightDefectsResult(
            defects=table,
            gates=(
                Gate("defect_frames", n, sense="min", warn=2 * config.min_frames, fail=config.min_frames),
                Gate(
                    "defect_star_share", found.star_share, warn=config.warn_star_share, fail=config.max_star_share, n=n
                ),
                defect_gate(bad, warn=config.warn_fraction, fail=config.max_fraction),
            ),
            funnels=(funnel.then("left", int((~bad).sum())),),
        )

    def _votes(self, frames: tuple[Handle[Exposure], ...]) -> tuple[PixelVotes, int]:
        """Return what all frames of the sky say together, and how many they are."""
        votes: PixelVotes | None = None
        facts: list[FrameFacts] = []
        for handle in frames:
            exposure = handle.get()
            if exposure.observation.observation_type in self.config.left_out_types:
                continue
            facts.append(FrameFacts.of(exposure, level=0.0))
            require_kinship(facts[0], facts[-1], index=len(facts), but=("filter",))
            own = vote(
                exposure.image,
                bad=self._ignored(exposure),
                n_sigma=self.config.n_sigma,
                line_sigma=self.config.line_sigma,
                size=self.config.surroundings_size,
            )
            votes = own if votes is None else votes + own
        if votes is None:
            raise NoWorkFound(f"None of {len(frames)} frames shows the sky.")
        if len(facts) < self.config.min_frames:
            raise CalibrationError(
                f"Defects of a night need at least {self.config.min_frames} frames of the sky; got {len(facts)} of "
                f"{len(frames)}.",
                n_frames=len(facts),
                n_given=len(frames),
            )
        return votes, len(facts)

    def _ignored(self, exposure: Exposure) -> BoolArray:
        return exposure.mask.any_of(*(plane for plane in self.config.ignored_planes if plane in exposure.mask.planes))
