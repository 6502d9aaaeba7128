"""TSD-SR on random tiny networks: every size, the same bytes twice, no seams, and memory answered inside a picture."""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from upscale_server.models.extras import installed

if not installed("tsdsr"):
    pytest.skip("the extra [tsdsr] is not installed", allow_module_level=True)

import torch

from benchmarks.tsdsr_networks import TINY, random_networks
from tests.support import tsdsr
from upscale_server.errors import BadRequest, BadScale, ModelsNotLoaded, OutOfMemory
from upscale_server.events import Event, SteppedDown
from upscale_server.geometry import Fitted
from upscale_server.media.picture import Picture
from upscale_server.media.types import Size
from upscale_server.models.tsdsr import pixels, stages, vae_strips
from upscale_server.models.tsdsr.geometry import exact
from upscale_server.models.tsdsr.model import TsdsrUpscaler
from upscale_server.models.tsdsr.options import TsdsrOptions
from upscale_server.models.tsdsr.stages import Request
from upscale_server.models.tsdsr.tiles import TileGrid
from upscale_server.models.tsdsr.vae import Holding, Vae
from upscale_server.pipeline_image import upscale_image
from upscale_server.settings import Settings

CPU = torch.device("cpu")
SEAMLESS = 1e-5
"""Of values about 1, float32: sums in another order; the official tiles differ by 0.1 and more on the same networks."""


def picture(width: int, height: int, seed: int = 7) -> NDArray[np.uint8]:
    """Make a picture of coarse blobs and fine noise, `(1, H, W, 3)`."""
    rng = np.random.default_rng([seed, width, height])
    coarse = rng.integers(0, 200, (1, -(-height // 8), -(-width // 8), 3)).repeat(8, 1).repeat(8, 2)[:, :height, :width]
    return (coarse + rng.integers(0, 56, (1, height, width, 3))).astype(np.uint8)


def view(options: TsdsrOptions | None = None, **asked: int | None) -> TsdsrUpscaler:
    """Return an upscaler of the tiny networks; small process size, so that small pictures are not enlarged."""
    model = tsdsr.model_of(tsdsr.tiny_networks(), options or tsdsr.tiny_options())
    return model.at(**({"factor": 2, "process_size": 16, "seed": None} | asked))  # type: ignore[arg-type]


SIZES = [(9 + index % 16 + index // 100, 9 + (3 * index + index // 16) % 16) for index in range(200)]


def test_two_hundred_sizes_come_out_exactly_and_the_same_twice() -> None:
    """Every residue of both sides mod 16: exact output size, finite, the same bytes on the second run."""
    assert {width % 16 for width, _ in SIZES} == {height % 16 for _, height in SIZES} == set(range(16))
    upscaler = view()
    for width, height in SIZES:
        lr = picture(width, height)

        first, second = (upscaler.upscale(lr) for _ in range(2))

        assert (1, 2 * height, 2 * width, 3) == first.pixels.shape
        assert first.finite.all()
        assert np.array_equal(first.pixels, second.pixels)


@pytest.mark.parametrize("mode", ["exact", "reference"])
@pytest.mark.parametrize(
    ("width", "height", "factor", "process_size"),
    [
        (2060, 32, 2, 64), (32, 2060, 2, 64), (1, 1, 2, 16), (1, 40, 2, 16), (40, 1, 4, 16), (300, 1, 2, 16),
        (68, 68, 2, 128), (17, 23, 4, 64), (49, 51, 2, 128), (16, 80, 4, 64),
    ],
)  # fmt: skip
def test_odd_shapes_come_out_exactly(mode: str, width: int, height: int, factor: int, process_size: int) -> None:
    """Sizes on which the official script crashes or never ends, and the thinnest there are, in both modes."""
    options = tsdsr.tiny_options(mode=mode, latent_tile=64, latent_overlap=8)
    lr, upscaler = picture(width, height), view(options, factor=factor, process_size=process_size)

    first, second = (upscaler.upscale(lr) for _ in range(2))

    assert (1, factor * height, factor * width, 3) == first.pixels.shape
    assert first.finite.all()
    assert np.array_equal(first.pixels, second.pixels)


def test_both_modes_make_the_same_where_nothing_is_rounded() -> None:
    """Sides that are multiples of 16 when enlarged: the modes differ by their truncation to 8 bits and no more."""
    lr = picture(48, 40)

    found = [view(tsdsr.tiny_options(mode=mode, align="none")).upscale(lr).pixels for mode in ("exact", "reference")]

    # Rounded against cut off: 0 or 1 level.
    assert {0, 1} == set(np.unique(found[0].astype(int) - found[1]))


def test_padding_is_cut_off_and_nothing_is_stretched() -> None:
    """The exact mode's result is the decoded picture's own corner, not a resized one."""
    lr = picture(21, 27)
    model = tsdsr.model_of(tsdsr.tiny_networks(), tsdsr.tiny_options(align="none"))
    geometry = exact(Size(21, 27), 2, 16)

    made = model.made(pixels.values_of(lr[0], 255, CPU), Request(geometry))

    expected = pixels.rounded((made.decoded[:, :, :54, :42].clamp(-1, 1) + 1) / 2, 255)
    assert Size(48, 64) == geometry.padded
    assert np.array_equal(expected, model.at(2, 16).upscale(lr).pixels[0])


def test_a_seed_opts_into_a_sample_that_repeats() -> None:
    """Without a seed there is no noise; the same seed gives the same bytes, another seed others."""
    lr = picture(24, 24)
    mean, first, again, other = (view(seed=seed).upscale(lr).pixels for seed in (None, 5, 5, 6))
    standing = view(tsdsr.tiny_options(posterior="sample")).upscale(lr).pixels

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(mean, first)
    assert np.array_equal(view(seed=0).upscale(lr).pixels, standing)


def test_sixteen_bits_go_through_with_one_rounding() -> None:
    """A 16-bit result holds more than 256 levels and is the 8-bit one, when rounded; reference is 257 times 8 bits."""
    lr = picture(24, 24)
    wide = lr.astype(np.uint16) * np.uint16(257)

    deep = view().upscale(wide, bits=16).pixels
    plain = view(tsdsr.tiny_options(mode="reference")).upscale(wide, bits=16).pixels

    assert np.uint16 == deep.dtype
    assert (deep % 257 != 0).any()
    # 8 and 16 bits see the same input to a part in 2**24; a rounding on the edge may fall either way.
    assert np.abs(np.round(deep / 257) - view().upscale(lr).pixels).max() <= 1
    assert (plain % 257 == 0).all()


def test_a_picture_goes_through_the_product_path_with_its_alpha() -> None:
    """Gray with alpha, odd sides: the pipeline for stills and its guard take TSD-SR like any other model."""
    gray = Picture(picture(21, 19)[0, ..., 0], alpha=picture(21, 19, 8)[0, ..., 0])

    found = upscale_image(gray, [view()], Fitted(Size(42, 38), Size(42, 38), Fraction(2)))

    assert (38, 42) == found.pixels.shape == found.alpha.shape
    assert () == found.warnings


def test_threads_share_one_model_and_get_the_same_bytes() -> None:
    """One picture runs at a time; who asks at the same moment waits."""
    upscaler, lr = view(), picture(24, 32)
    expected = upscaler.upscale(lr).pixels

    with ThreadPoolExecutor(4) as crew:
        found = list(crew.map(lambda _: upscaler.upscale(lr).pixels, range(4)))

    assert all(np.array_equal(expected, one) for one in found)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("values", [0, 1 << 11, 1 << 14])
def test_strips_have_no_seams(values: int, layout: torch.memory_format) -> None:
    """Encoder and decoder in strips, down to one row, are the untiled networks of diffusers to the last rounding."""
    vae = replace(random_networks(TINY, CPU, torch.float32).vae, layout=layout)
    rng = torch.Generator().manual_seed(3)
    # A ramp under the noise: the strips' means differ, so that the spread between them matters.
    given = torch.randn(1, 3, 96, 80, generator=rng) + torch.linspace(-2, 2, 96)[:, None]
    latent = torch.randn(1, 16, 24, 20, generator=rng) + torch.linspace(-2, 2, 24)[:, None]

    with torch.inference_mode():
        mean, _ = vae.moments(given, Holding(values))
        assert (vae.encoder(given)[:, :16] - mean).abs().max() <= SEAMLESS
        assert (vae.decoder(latent) - vae.picture(latent * 1.5305, Holding(values))).abs().max() <= SEAMLESS


def test_the_official_tiles_do_have_seams() -> None:
    """The same comparison sees local attention and averaged statistics: what it passes is no accident."""
    vae = tsdsr.tiny_networks().vae
    rng = torch.Generator().manual_seed(3)
    latent = torch.randn(1, 16, 60, 20, generator=rng) + torch.linspace(-2, 2, 60)[:, None]

    with torch.inference_mode():
        tiled = vae.picture(latent * 1.5305, Holding(decoder_tile=12))

        assert (vae.decoder(latent) - tiled).abs().max() >= 1000 * SEAMLESS


def test_attention_in_groups_of_queries_sees_every_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound on scores changes nothing but the last rounding."""
    vae = tsdsr.tiny_networks().vae
    latent = torch.randn(1, 16, 24, 20, generator=torch.Generator().manual_seed(4))

    with torch.inference_mode():
        expected = vae.picture(latent, Holding())
        monkeypatch.setattr(vae_strips, "_SCORE_VALUES", 480 * 7)
        found = vae.picture(latent, Holding())

    assert (expected - found).abs().max() <= SEAMLESS


@pytest.mark.parametrize(("mode", "tiles"), [("exact", 103), ("reference", 254)])
def test_tiles_that_a_thin_picture_clamps_overlap_by_half_at_most(
    monkeypatch: pytest.MonkeyPatch, mode: str, tiles: int
) -> None:
    """A latent of 10x516 has steps of 5; the official script's steps are 2, which the mode of its name keeps."""
    grids: list[TileGrid] = []

    def noted(network: torch.nn.Module, latent: torch.Tensor, grid: TileGrid, tile_batch: int) -> torch.Tensor:
        del network, tile_batch
        grids.append(grid)
        return torch.zeros_like(latent)

    monkeypatch.setattr(stages, "predict", noted)
    view(tsdsr.tiny_options(mode=mode, latent_tile=64, latent_overlap=8), process_size=64).upscale(picture(40, 2060))

    assert [(10, tiles)] == [(grid.width, len(grid.places)) for grid in grids]


def _told(events: list[Event]) -> list[str]:
    return [event.point for event in events if isinstance(event, SteppedDown)]


def test_too_little_memory_for_tiles_finishes_the_same_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the tiles at once, and half again; the picture is the one of a single tile at once; it is remembered."""
    events: list[Event] = []
    model = tsdsr.model_of(tsdsr.tiny_networks(), tsdsr.tiny_options(), events.append)
    predict, lr = stages.predict, picture(80, 80)

    def cramped(network: torch.nn.Module, latent: torch.Tensor, grid: object, tile_batch: int) -> torch.Tensor:
        if tile_batch > 1:
            raise torch.OutOfMemoryError("injected")
        return predict(network, latent, grid, tile_batch)  # type: ignore[arg-type]

    monkeypatch.setattr(stages, "predict", cramped)
    found = [model.at(2, 16).upscale(lr).pixels for _ in range(2)]
    monkeypatch.undo()
    expected = tsdsr.model_of(tsdsr.tiny_networks(), tsdsr.tiny_options(tile_batch=1)).at(2, 16).upscale(lr).pixels

    assert ["2 tiles", "1 tiles"] == [" ".join(point.split()[:2]) for point in _told(events)]
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(expected, found[0])


def test_tiles_shrink_when_one_at_once_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the batch the tile; the picture comes out whole."""
    events: list[Event] = []
    options = tsdsr.tiny_options(latent_tile=32, latent_overlap=4)
    model = tsdsr.model_of(tsdsr.tiny_networks(), options, events.append, tile_batch=2)
    predict = stages.predict

    def cramped(network: torch.nn.Module, latent: torch.Tensor, grid: object, tile_batch: int) -> torch.Tensor:
        if grid.height > 24:  # type: ignore[attr-defined]
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return predict(network, latent, grid, tile_batch)  # type: ignore[arg-type]

    monkeypatch.setattr(stages, "predict", cramped)
    found = model.at(2, 16).upscale(picture(160, 160))

    assert (1, 320, 320, 3) == found.pixels.shape
    assert ["1 tiles of 32", "1 tiles of 24"] == [" ".join(point.split()[:4]) for point in _told(events)]


def test_strips_shrink_when_the_vae_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step of the ladder narrows strips and gives the same picture; nothing before it is done again."""
    events: list[Event] = []
    lr = picture(40, 40)
    expected = view().upscale(lr).pixels
    model = tsdsr.model_of(tsdsr.tiny_networks(), tsdsr.tiny_options(), events.append)
    drawn, calls = Vae.picture, []

    def cramped(self: Vae, latent: torch.Tensor, holding: Holding) -> torch.Tensor:
        if holding.values > 1 << 22:
            raise torch.OutOfMemoryError("injected")
        return drawn(self, latent, holding)

    monkeypatch.setattr(Vae, "picture", cramped)
    predict = stages.predict
    monkeypatch.setattr(stages, "predict", lambda *given: (calls.append(1), predict(*given))[1])
    found = model.at(2, 16).upscale(lr).pixels

    assert 3 == len(_told(events))
    assert [1] == calls
    assert np.array_equal(expected, found)


def test_decoder_without_memory_changes_nothing_of_what_comes_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next picture of the size is encoded as this one was, or the same request would give other bytes."""
    model = tsdsr.model_of(tsdsr.tiny_networks(), tsdsr.tiny_options())
    coded, drawn = Vae.moments, Vae.picture
    encoded: list[Holding] = []
    decoded: list[Holding] = []

    def noted(self: Vae, given: torch.Tensor, holding: Holding) -> tuple[torch.Tensor, torch.Tensor]:
        encoded.append(holding)
        return coded(self, given, holding)

    def cramped(self: Vae, latent: torch.Tensor, holding: Holding) -> torch.Tensor:
        decoded.append(holding)
        if holding.values > 1 << 22:
            raise torch.OutOfMemoryError("injected")
        return drawn(self, latent, holding)

    monkeypatch.setattr(Vae, "moments", noted)
    monkeypatch.setattr(Vae, "picture", cramped)
    first, second = (model.at(2, 16).upscale(picture(40, 40)).pixels for _ in range(2))

    assert encoded[0] == encoded[1]
    assert decoded[-1] == decoded[-2] != decoded[0]
    assert np.array_equal(first, second)


def test_memory_that_never_suffices_ends_in_the_named_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ladder ends, and other faults of torch are not taken for missing memory."""

    def never(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("injected")

    monkeypatch.setattr(stages, "predict", never)
    with pytest.raises(OutOfMemory, match="CUDA out of memory: injected"):
        view().upscale(picture(24, 24))

    def broken(*_: object) -> torch.Tensor:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(stages, "predict", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        view().upscale(picture(24, 24))


def test_what_cannot_fit_is_refused_before_any_network_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound on memory is held against what is foretold."""
    monkeypatch.setattr(Vae, "moments", lambda *_: pytest.fail("a network ran"))

    with pytest.raises(OutOfMemory, match="GiB are free"):
        view(tsdsr.tiny_options(memory_bytes=1 << 20)).upscale(picture(200, 200))


def test_a_vae_that_overflows_is_run_once_more_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that are not finite in 16 bits cost one repetition, and what is finite then is taken."""
    networks = random_networks(TINY, CPU, torch.bfloat16)
    drawn, seen = Vae.picture, []

    def overflowing(self: Vae, latent: torch.Tensor, holding: Holding) -> torch.Tensor:
        seen.append(self.dtype)
        found = drawn(self, latent, holding)
        return found if self.dtype == torch.float32 else found * float("inf")

    monkeypatch.setattr(Vae, "picture", overflowing)
    found = tsdsr.model_of(networks, tsdsr.tiny_options()).at(2, 16).upscale(picture(24, 24))

    assert [torch.bfloat16, torch.float32] == seen
    assert found.finite.all()


def test_memory_that_float32_lacks_is_told_and_narrows_no_later_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """The repetition steps down for itself: whoever asked hears of it, and the size's point stays."""
    drawn, strips, told = Vae.picture, [], list[Event]()

    def overflowing(self: Vae, latent: torch.Tensor, holding: Holding) -> torch.Tensor:
        if self.dtype != torch.float32:
            strips.append(holding.values)
            return drawn(self, latent, holding) * float("inf")
        if holding.values == strips[0]:
            raise torch.OutOfMemoryError("injected")
        return drawn(self, latent, holding)

    monkeypatch.setattr(Vae, "picture", overflowing)
    upscaler = tsdsr.model_of(random_networks(TINY, CPU, torch.bfloat16), tsdsr.tiny_options()).at(
        2, 16, observer=told.append
    )
    for _ in range(2):
        assert upscaler.upscale(picture(24, 24)).finite.all()

    assert strips[0] == strips[1]
    assert 2 == len(_told(told))


def test_what_overflowed_is_let_go_before_float32_needs_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy of the VAE and its maps meet no picture of the first run."""
    drawn, copied = Vae.picture, Vae.in_float32
    first: list[weakref.ref[torch.Tensor]] = []
    kept: list[bool] = []

    def overflowing(self: Vae, latent: torch.Tensor, holding: Holding) -> torch.Tensor:
        found = drawn(self, latent, holding)
        if self.dtype != torch.float32:
            found = found * float("inf")
            first.append(weakref.ref(found))
        return found

    def noted(self: Vae) -> Vae:
        kept.append(first[0]() is not None)
        return copied(self)

    monkeypatch.setattr(Vae, "picture", overflowing)
    monkeypatch.setattr(Vae, "in_float32", noted)
    model = tsdsr.model_of(random_networks(TINY, CPU, torch.bfloat16), tsdsr.tiny_options())

    assert model.at(2, 16).upscale(picture(24, 24)).finite.all()
    assert [False] == kept


def test_no_room_for_the_vae_in_float32_is_the_named_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's own way to say it reaches nobody who asks for the stages alone, either."""

    def cramped(_: Vae) -> Vae:
        raise torch.OutOfMemoryError("injected")

    monkeypatch.setattr(Vae, "in_float32", cramped)
    model = tsdsr.model_of(random_networks(TINY, CPU, torch.bfloat16), tsdsr.tiny_options())
    geometry = exact(Size(24, 24), 2, 16)
    request = Request(geometry, full_precision=True)

    with pytest.raises(OutOfMemory, match="injected"):
        model.made(pixels.values_of(picture(24, 24)[0], 255, CPU), request)


def test_a_repeat_in_float32_goes_on_where_memory_sufficed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second picture of a size begins with what the first found out, and has the same bytes, both times over."""
    options = tsdsr.tiny_options(latent_tile=32, latent_overlap=4)
    model = tsdsr.model_of(random_networks(TINY, CPU, torch.bfloat16), options)
    drawn, predict, refused = Vae.picture, stages.predict, []

    def overflowing(self: Vae, latent: torch.Tensor, holding: Holding) -> torch.Tensor:
        found = drawn(self, latent, holding)
        return found if self.dtype == torch.float32 else found * float("inf")

    def short_at_first(network: torch.nn.Module, latent: torch.Tensor, grid: TileGrid, tile_batch: int) -> torch.Tensor:
        if len(refused) < 4:  # four tiles, two, one, and one of a smaller side
            refused.append(tile_batch)
            raise torch.OutOfMemoryError("injected")
        return predict(network, latent, grid, tile_batch)

    monkeypatch.setattr(Vae, "picture", overflowing)
    monkeypatch.setattr(stages, "predict", short_at_first)
    first, second = (model.at(2, 16).upscale(picture(160, 160)).pixels for _ in range(2))

    assert 4 == len(refused)
    assert np.array_equal(first, second)


def test_values_that_stay_broken_are_told_and_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard hears of them; nothing is repeated for ever."""
    drawn = Vae.picture
    monkeypatch.setattr(Vae, "picture", lambda self, latent, how: drawn(self, latent, how) * float("nan"))

    assert not view().upscale(picture(24, 24)).finite.any()


def test_what_is_asked_for_is_checked() -> None:
    """Factor, process size and seed out of range are refused by name."""
    with pytest.raises(BadScale, match="factor is 3"):
        view(factor=3)
    with pytest.raises(BadRequest, match="process size is 8"):
        view(process_size=8)
    with pytest.raises(BadRequest, match="seed is -1"):
        view(seed=-1)


def test_closing_twice_releases_and_says_so() -> None:
    """A closed model has no networks and answers with a named error."""
    model = tsdsr.model_of(tsdsr.tiny_networks(), tsdsr.tiny_options())
    model.close()
    model.close()

    assert (False, False) == (model.facts.transformer, model.facts.vae)
    with pytest.raises(ModelsNotLoaded, match="closed"):
        model.at(2, 16).upscale(picture(16, 16))


def test_settings_are_options_word_for_word() -> None:
    """Every setting of TSD-SR is an option, with the same default."""
    assert TsdsrOptions("", "", "") == TsdsrOptions(**Settings().tsdsr.model_dump())
