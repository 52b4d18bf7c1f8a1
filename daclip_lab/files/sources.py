"""The one table of what can be fetched: addresses, sizes, licences and hashes.

A size or hash that no trustworthy place states is None; how such a file is trusted is told by `transfer.trust`.
"""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

HUB = "https://huggingface.co"
DACLIP = f"{HUB}/weblzw/daclip-uir-ViT-B-32-irsde"
DACLIP_FILES = f"{DACLIP}/resolve/b6919abe53ca049f44da6c4229f794b9d8ae8a5e"
DACLIP_CODE = "c2cc14146faac85680b4cb39ece4ef9e2a7c7c24"
DRIVE = "https://drive.google.com"


@dataclass(frozen=True, kw_only=True)
class File:
    """One file at one address."""

    url: str
    size: int | None = None
    """Bytes."""
    sha256: str | None = None
    folders: tuple[tuple[str, str], ...] = ()
    """Of an archive: which folder inside it ("" for all) becomes which folder here. A file that is wanted as it is has
    none."""

    @property
    def name(self) -> str:
        """What the file is called here: the end of its address."""
        return urlsplit(self.url).path.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set or a set of weights, under one name."""

    what: str
    licence: str
    pages: tuple[str, ...]
    """Where it is described; without `files`, where a person has to fetch it."""
    files: tuple[File, ...] = ()
    """What has a direct address, and together makes up the set."""
    about: str = ""
    """Its size as its page rounds it, where a file's own is not known."""
    place: Literal["data", "weights", "torch"] = "data"
    """The folder below the working directory into whose folder of that name it goes; "torch" is torch's own cache."""


WEIGHTS = {
    "daclip-uir": Source(
        what="the authors' DA-CLIP (ViT-B/32) and restorer of ten degradations",
        licence="MIT",
        pages=(DACLIP,),
        place="weights",
        files=(
            File(
                url=f"{DACLIP_FILES}/daclip_ViT-B-32.pt",
                size=1_744_725_787,
                sha256="ea948854d4293f2d222ead043fd5b4090fba984c8e2db8656934d768dc4f8230",
            ),
            File(
                url=f"{DACLIP_FILES}/universal-ir.pth",
                size=195_990_371,
                sha256="87575b2559ca122d27b56fe7f24fe63d8099795cdd5b16af2bab41ecc2bb02a8",
            ),
        ),
    ),
    "wild-ir": Source(
        what="the authors' DA-CLIP (ViT-L/14) and restorer for real photos",
        licence="MIT",
        pages=(DACLIP,),
        place="weights",
        files=(
            File(
                url=f"{DACLIP_FILES}/wild-daclip_ViT-L-14.pt",
                size=5_661_040_338,
                sha256="35db86f3cf74a42360b7346a124d3484605d24bcbdc33057e74449eab65fe246",
            ),
            File(
                url=f"{DACLIP_FILES}/wild-ir.pth",
                size=197_969_027,
                sha256="a8eea3b6945904de174123bc8220214990b67e85eac7214ad425f6b6ef46fdc5",
            ),
        ),
    ),
    "lpips": Source(
        what="AlexNet, through which LPIPS looks at images",
        licence="BSD-3",
        pages=("https://pytorch.org/vision/stable/models/alexnet.html",),
        place="torch",
        files=(
            File(
                url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
                size=244_408_911,
                sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
            ),
        ),
    ),
    "fid": Source(
        what="Inception of 2015, through which FID looks at images",
        licence="Apache 2.0",
        pages=("https://github.com/toshas/torch-fidelity",),
        place="torch",
        files=(
            File(
                url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
                "weights-inception-2015-12-05-6726825d.pth",
                size=95_628_359,
                sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
            ),
        ),
    ),
}

BERKELEY = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision"
DATA = {
    "bsds500": Source(
        what="500 photos of 481x321, in train, val and test",
        licence="non-commercial research",
        pages=(f"{BERKELEY}/grouping/resources.html",),
        files=(
            File(
                url=f"{BERKELEY}/grouping/BSR/BSR_bsds500.tgz",
                size=70_763_455,
                sha256="97e49d31764f3912f0c4122707d53062ac9e783ba0f095e447a4d53c1a41af8e",
                folders=tuple(
                    (f"BSR/BSDS500/data/images/{part}", part) for part in ("train", "val", "test")
                ),
            ),
        ),
    ),
    "gopro": Source(
        what="motion-blurry: 2103 and 1111 pairs, by averaging frames",
        licence="CC BY 4.0",
        pages=("https://seungjunnah.github.io/Datasets/gopro.html",),
        about="8.8 GB",
        files=(
            File(
                url=f"{HUB}/datasets/snah/GOPRO_Large/resolve/"
                "592978466ae510d2734b199cad2fc79a346bda1c/GOPRO_Large.zip",
                sha256="24532c036712515cf33803704421311c91f6a080e76049d7e5e7fd22389f128e",
                folders=(("", "GOPRO_Large"),),
            ),
        ),
    ),
    "div2k": Source(
        what="clean: 800 and 100 photos of 2K, for jpeg-compressed and noisy",
        licence="academic research",
        pages=("https://data.vision.ee.ethz.ch/cvl/DIV2K/",),
        files=tuple(
            File(
                url=f"https://data.vision.ee.ethz.ch/cvl/DIV2K/{folder}.zip",
                size=size,
                sha256=sha256,
                folders=((folder, folder),),
            )
            for folder, size, sha256 in (
                (
                    "DIV2K_train_HR",
                    3_530_603_713,
                    "9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335",
                ),
                (
                    "DIV2K_valid_HR",
                    448_993_893,
                    "20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc",
                ),
            )
        ),
    ),
    "flickr2k": Source(
        what="clean: 2650 photos of 2K, for jpeg-compressed and noisy",
        licence="not stated",
        pages=("https://github.com/limbee/NTIRE2017",),
        about="11.6 GB",
        files=(
            File(
                url=f"{HUB}/datasets/goodfellowliu/Flickr2K/resolve/main/Flickr2K.zip",
                sha256="401a5b1d247d18d1114b77b069e3c7bf235c80f06b8b9caaef0086d07f1d42a3",
                folders=(("", "Flickr2K_HR"),),
            ),
        ),
    ),
    "cbsd68": Source(
        what="clean: 68 test photos of 481x321, for noisy",
        licence="non-commercial research",
        pages=("https://github.com/clausmichele/CBSD68-dataset",),
        files=(
            File(
                url="https://github.com/clausmichele/CBSD68-dataset/archive/refs/heads/"
                "master.tar.gz",
                folders=(("CBSD68-dataset-master/CBSD68/original_png", "original_png"),),
            ),
        ),
    ),
    "rain100h": Source(
        what="rainy: 1800 and 100 pairs with dense streaks",
        licence="see its page",
        pages=("https://github.com/Algolzw/daclip-uir/issues/37",),
        files=(
            File(
                url="http://www.icst.pku.edu.cn/struct/att/RainTrainH.zip",
                folders=(("", "RainTrainH"),),
            ),
            File(
                url="http://www.icst.pku.edu.cn/struct/att/Rain100H.zip",
                folders=(("", "Rain100H"),),
            ),
        ),
    ),
    "repaint-masks": Source(
        what="100 thin masks, for uncompleted",
        licence="see its page",
        pages=(
            "https://github.com/Algolzw/daclip-uir/tree/main/scripts/inpainting_masks",
            "https://github.com/andreas128/RePaint",
        ),
        files=(
            File(
                url=f"https://github.com/Algolzw/daclip-uir/archive/{DACLIP_CODE}.tar.gz",
                folders=((f"daclip-uir-{DACLIP_CODE}/scripts/inpainting_masks", "thin"),),
            ),
        ),
    ),
    "reside-6k": Source(
        what="hazy: 6000 and 1000 pairs",
        licence="see its page",
        pages=(f"{DRIVE}/drive/folders/1XVD0x74vKQ0-cqazACUZnjUOWURXIeqH",),
    ),
    "live1": Source(
        what="clean: 29 test photos, for jpeg-compressed",
        licence="free, with its notice",
        pages=("https://live.ece.utexas.edu/research/quality/subjective.htm",),
    ),
    "lol": Source(
        what="low-light: 485 and 15 pairs",
        licence="not stated",
        pages=(
            "https://daooshee.github.io/BMVC2018website/",
            f"{DRIVE}/file/d/157bjO1_cFuSd0HWDUuAmcHRJDVyWpOxB/view",
        ),
    ),
    "raindrop": Source(
        what="raindrop: 861 and 58 pairs through wet glass",
        licence="see its page",
        pages=(
            "https://github.com/rui1996/DeRaindrop",
            f"{DRIVE}/open?id=1e7R76s6vwUJxILOcAsthgDLPSnOrQ49K",
        ),
    ),
    "srd": Source(
        what="shadowed: 2680 and 408 pairs",
        licence="see its page",
        pages=(
            f"{DRIVE}/file/d/1W8vBRJYDG9imMgr9I2XaA13tlFIEHOjS/view",
            f"{DRIVE}/file/d/1GTi4BmQ0SJ7diDMmf-b7x2VismmXtfTo/view",
        ),
    ),
    "snow100k-l": Source(
        what="snowy: 1872 and 601 pairs with large flakes",
        licence="see its page",
        pages=(
            f"{DRIVE}/file/d/11Cnnj8SK9RIpZEf2wIOwVoR0-LTMfE_j/view",
            f"{DRIVE}/drive/folders/1kLPWAev5f6OutKFALhxthuO1XCF5U1Yu",
            "https://sites.google.com/view/yunfuliu/desnownet",
        ),
    ),
    "celeba-hq-256": Source(
        what="clean: 30000 faces of 256x256, for uncompleted",
        licence="non-commercial research",
        pages=(f"{DRIVE}/file/d/1oYDBcJLT5RDuC4k5C7xOMRkZ9N3kfexu/view",),
    ),
}

SOURCES = DATA | WEIGHTS
