"""The words for each of the ten degradations and "clean": the table from which `data.prompts` makes sentences."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """The phrasings of one degradation, in two grammatical kinds.

    An adjective fits "a ___ photo" (at most 4 BPE tokens), a clause fits "a photo ___" (at most 6). The first
    adjective is the canonical word: the name of the degradation. Phrasings that are held out are used in evaluations
    only.
    """

    adjectives: tuple[str, ...]
    clauses: tuple[str, ...] = ()
    held_out_adjectives: tuple[str, ...] = ()
    held_out_clauses: tuple[str, ...] = ()

    @property
    def canonical(self) -> str:
        return self.adjectives[0]

    @property
    def train(self) -> tuple[str, ...]:
        return self.adjectives + self.clauses

    @property
    def held_out(self) -> tuple[str, ...]:
        return self.held_out_adjectives + self.held_out_clauses


def _words(
    *, adjectives: str, clauses: str, held_out_adjectives: str, held_out_clauses: str
) -> Words:
    kinds = (adjectives, clauses, held_out_adjectives, held_out_clauses)
    split = (tuple(phrases.split(", ")) for phrases in kinds)
    return Words(*split)


WORDS: dict[str, Words] = {
    "motion-blurry": _words(
        adjectives="motion-blurry, motion-blurred, blurry, blurred, shaky, smeared, unsharp",
        clauses=(
            "with motion blur, with camera shake, blurred by motion, taken with a moving camera, "
            "smeared by movement, in fast motion, with blur"
        ),
        held_out_adjectives="shaken, motion-smeared",
        held_out_clauses="from a moving car, blurred by camera movement",
    ),
    "hazy": _words(
        adjectives="hazy, foggy, misty, smoggy, fogged, haze-covered",
        clauses=(
            "in fog, in thick fog, in haze, in mist, with dense haze, covered by haze, taken "
            "through fog, with smog"
        ),
        held_out_adjectives="murky, smoky",
        held_out_clauses="in heavy mist, on a foggy day",
    ),
    "jpeg-compressed": _words(
        adjectives=(
            "jpeg-compressed, compressed, blocky, heavily compressed, badly compressed, lossy"
        ),
        clauses=(
            "with compression artifacts, with jpeg artifacts, with block artifacts, saved at low "
            "quality, with jpeg compression, saved as jpeg, with strong compression"
        ),
        held_out_adjectives="pixelated, over-compressed",
        held_out_clauses="with compression blocks, saved with too much compression",
    ),
    "low-light": _words(
        adjectives="low-light, dark, dim, underexposed, poorly lit, badly lit, too dark, gloomy",
        clauses=(
            "at night, in low light, in the dark, in poor light, with little light, taken at night"
        ),
        held_out_adjectives="dimly lit, nighttime",
        held_out_clauses="with too little exposure, in weak light",
    ),
    "noisy": _words(
        adjectives="noisy, grainy, speckled, very noisy, noise-covered",
        clauses=(
            "with noise, with sensor noise, with gaussian noise, with grain, with random noise, "
            "full of noise, covered by noise, with strong noise"
        ),
        held_out_adjectives="noise-corrupted, gritty",
        held_out_clauses="with heavy grain, with camera noise",
    ),
    "raindrop": _words(
        adjectives="raindrop, raindrop-covered, water-spotted, drop-covered",
        clauses=(
            "with raindrops, with raindrops on glass, with water drops, through wet glass, with "
            "drops on glass, with raindrops on the lens, through a wet window, with water on "
            "glass"
        ),
        held_out_adjectives="droplet-covered",
        held_out_clauses="with water droplets, with a wet lens, through a spotted window",
    ),
    "rainy": _words(
        adjectives="rainy, rain-streaked, stormy, pouring, rain-soaked",
        clauses=(
            "in the rain, in heavy rain, with rain streaks, during a storm, in a downpour, in "
            "pouring rain, with rain"
        ),
        held_out_adjectives="raining, drizzly",
        held_out_clauses="with falling rain, during heavy rainfall",
    ),
    "shadowed": _words(
        adjectives="shadowed, shaded, shadowy, shady, partly shaded, shadow-covered",
        clauses=(
            "with a shadow, with shadows, in the shade, with a dark shadow, covered by a shadow, "
            "under a shadow"
        ),
        held_out_adjectives="partly shadowed, half-shaded",
        held_out_clauses="with cast shadows, in shadow",
    ),
    "snowy": _words(
        adjectives="snowy, wintry, snow-covered, snowing, snow-filled",
        clauses=(
            "in the snow, in falling snow, with snowflakes, in heavy snow, in a snow storm, with "
            "snow, covered by snow"
        ),
        held_out_adjectives="snow-streaked",
        held_out_clauses="in a blizzard, with flying snow, during snowfall",
    ),
    "uncompleted": _words(
        adjectives="uncompleted, incomplete, masked, scribbled, unfinished, partly erased",
        clauses=(
            "with missing parts, with missing pixels, with holes, covered by scribbles, with "
            "masked parts, with erased strokes, with gaps"
        ),
        held_out_adjectives="partly missing, scratched",
        held_out_clauses="with missing regions, with parts cut out",
    ),
    "clean": _words(
        adjectives="clean, clear, sharp, crisp, high-quality, good, undamaged, perfect",
        clauses=(
            "in good quality, in high quality, without artifacts, with no degradation, without "
            "damage"
        ),
        held_out_adjectives="pristine, flawless",
        held_out_clauses="without any corruption, in perfect quality",
    ),
}
