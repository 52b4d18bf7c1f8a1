"""What the paper and this project hold, as comparisons that the studies test, and what no study of ours can say."""

from typing import NamedTuple

PAPER = "The paper holds that"
AUTHORS = "The authors' code holds that"
PROJECT = "The design of this project holds that"


class Claim(NamedTuple):
    """That one variant of a study is better than another."""

    by: str
    """Whose claim it is, as the start of a sentence."""
    text: str
    """The claim, as the rest of that sentence."""
    variant: str
    against: str


_CONDITIONING = (
    Claim(PAPER, "a restorer gains from DA-CLIP's embeddings", "DA-CLIP's embeddings", "nothing"),
    Claim(PAPER, "DA-CLIP's embeddings are a better condition than plain CLIP's",
          "DA-CLIP's embeddings", "CLIP's embedding"),
    Claim(PAPER, "the degradation embedding helps a restorer", "DA-CLIP's degradation", "nothing"),
    Claim(PAPER, "the content embedding helps a restorer", "DA-CLIP's content", "nothing"),
    Claim(PROJECT, "DA-CLIP's word is a better condition than plain CLIP's",
          "DA-CLIP's word", "CLIP's word"),
    Claim(PROJECT, "an embedding, which also knows how strong a degradation is, is better than its word",
          "DA-CLIP's embeddings", "true word"),
)  # fmt: skip

CLAIMS: dict[str, tuple[Claim, ...]] = {
    "headline": (
        *_CONDITIONING,
        Claim(PAPER, "the content of the photo itself helps, not only that some content is given",
              "DA-CLIP's embeddings", "another photo's content"),
    ),
    "conditioning": (
        *_CONDITIONING,
        Claim(PROJECT, "dropping the condition now and then in training makes a better restorer",
              "DA-CLIP's embeddings, dropout 0.1", "DA-CLIP's embeddings"),
    ),
    "injection": (
        Claim(PAPER, "a prompt lets the degradation embedding help a restorer", "prompt", "nothing"),
        Claim(PROJECT, "scale and shift is a better way in than the paper's prompt",
              "scale and shift", "prompt"),
    ),
    "controller": (
        Claim(PROJECT, "every text of the same degradation should count as a positive",
              "the lab", "one-hot loss"),
        Claim(PROJECT, "aligning the content embedding with the clean image's helps",
              "the lab", "without alignment"),
        Claim(PAPER, "the controls should enter CLIP's blocks in reversed order",
              "the lab", "straight order"),
        Claim(PAPER, "the connecting layers should start at zero", "the lab", "random layers"),
        Claim(PROJECT, "an exact start is better than that of the authors' code",
              "the lab", "authors' initialisation"),
        Claim(PROJECT, "a controller should see pixels by convolutions rather than by patches",
              "fresh convolutions", "fresh patch embedding"),
    ),
    "backbone": (
        Claim(PROJECT, "a NAFNet is a better restorer than a U-Net that is trained for as long",
              "NAFNet", "U-Net, equal time"),
        Claim(PROJECT, "one step gives more decibels than a diffusion",
              "NAFNet", "NAFNet, diffusion"),
    ),
    "target": (
        Claim(PAPER, "a network should be trained towards the best next state",
              "matching", "noise"),
        Claim(PROJECT, "a network should predict the clean image rather than match the next state",
              "clean image", "matching"),
    ),
    "sampler": (
        Claim(PROJECT, "one step gives more decibels than many", "one step", "posterior, 20 steps"),
        Claim(PROJECT, "guidance costs decibels", "one step", "guidance 1.5"),
    ),
    "data": (
        Claim(PROJECT, "scenes beside photos make a better restorer than photos alone",
              "photos and scenes", "all photos"),
        Claim(PROJECT, "training images should pass through a camera",
              "all photos", "without camera"),
    ),
}  # fmt: skip
"""By the name of a study. A claim about variants that a study does not compare is left out of its findings."""

NOT_SAID_OF_OTHERS = (
    "It says nothing about other photos, longer trainings or larger networks than those it used."
)
NOT_SAID = {
    "headline": (
        "It does not say what a restorer would gain that was trained with another condition: this one"
        " was trained with DA-CLIP's embeddings and with words, so that plain CLIP's embeddings are strange"
        " to it; nor does it speak of degradations that are not made by our rules."
    ),
    "conditioning": (
        "It does not say what happens in a training as long as the paper's, in which a restorer may"
        " learn to see the degradation by itself, nor at the paper's 49 million parameters."
    ),
    "injection": (
        "It does not rank the four for the paper's U-Net, for content embeddings of many tokens, or"
        " after a long training: a slower start is not a worse end."
    ),
    "controller": (
        "It does not say which controller is best after a full training, nor with the paper's CLIP,"
        " which is trained on two billion pairs: these are short trainings of a small one."
    ),
    "backbone": (
        "It does not say which network is better with more time, more parameters or larger photos:"
        " at small sizes overheads count that vanish at large ones."
    ),
    "target": (
        "It does not say which target is best with many steps after a long training, nor for measures"
        " of perception: decibels favour whatever predicts the mean."
    ),
    "sampler": (
        "It does not say what people would prefer to look at, nor how a network does that was trained"
        " for many steps: this one was trained for one or few."
    ),
    "data": (
        "It does not say how the restorers do on real photos of bad weather, on which nobody has the"
        " clean truth, nor what thousands of photos would add."
    ),
}
"""What each study does not say, by its name."""
