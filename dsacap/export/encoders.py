"""The image encoder of an exported system.

It is written with its weights if possible. Otherwise it is named together with a hash of its
weights, so that another encoder is not taken for it.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, read_tensors, write_json, write_tensors
from dsacap.config.encoder import PATCHES, AutoencoderSizes
from dsacap.config.encoder import Encoder as EncoderSettings
from dsacap.export.description import (
    Encoders,
    Latents,
    OpenClip,
    OpenClipFolder,
    Patches,
    ResNet,
    Timm,
)
from dsacap.vision.encoders.base import Encoder
from dsacap.vision.encoders.clip_encoder import local_name, needs_quick_gelu
from dsacap.vision.encoders.load import load_encoder

WEIGHTS = "encoder.safetensors"
FOLDER_FILES = ("open_clip_config.json", "open_clip_model.safetensors")  # open_clip's own names

_LOCAL, _TIMM, _VISUAL = "local-dir:", "timm:", "visual."


def files_of(encoder: Encoders) -> tuple[str, ...]:
    """Return the names of the encoder's files in the exported folder."""
    if isinstance(encoder, OpenClipFolder):
        return FOLDER_FILES
    if isinstance(encoder, Patches) or (isinstance(encoder, OpenClip) and encoder.tag):
        return ()
    return (WEIGHTS,)


def trained_resnet(folder: Path, grid: int | None) -> tuple[ResNet, dict[str, Tensor]]:
    """Read the image tower of the tiny CLIP that the encoder stage trained.

    Args:
        folder: What the encoder stage wrote.
        grid: Tokens are averaged to grid x grid where the encoder gives more.

    Returns:
        The description of the encoder, and its weights.
    """
    config = read_json(folder / "open_clip_config.json")
    vision, preprocess = config["model_cfg"]["vision_cfg"], config["preprocess_cfg"]
    description = ResNet(
        image_size=vision["image_size"],
        layers=vision["layers"],
        width=vision["width"],
        heads=vision["width"] * 32 // vision["head_width"],
        embed_dim=config["model_cfg"]["embed_dim"],
        mean=preprocess["mean"],
        std=preprocess["std"],
        grid=grid,
    )
    tensors = read_tensors(folder / "open_clip_model.safetensors")[0]
    return description, {
        name.removeprefix(_VISUAL): tensor
        for name, tensor in tensors.items()
        if name.startswith(_VISUAL)
    }


def write_encoder(
    settings: EncoderSettings,
    trained: Path,
    folder: Path,
    fine_tuned: dict[str, Tensor] | None = None,
) -> Encoders:
    """Write the configured encoder's files.

    Args:
        settings: The configuration's section on the encoder.
        trained: What the encoder stage wrote, if it trained one.
        folder: Where to write.
        fine_tuned: The weights of a system that trained the encoder further; None for the others.

    Returns:
        The description of the encoder.

    Raises:
        UserError: The encoder cannot be exported.
    """
    if settings.train:
        return _write_trained(trained, settings.grid, folder, fine_tuned)
    if settings.autoencoder:
        return _write_latents(settings.autoencoder, trained, settings.grid, folder, fine_tuned)
    name = settings.name
    if name is None:
        raise UserError(
            f"encoder.features: an export needs the encoder of photos, and there is none beside"
            f" {settings.features}; name the one that made them (encoder.name)"
        )
    if name.startswith(PATCHES):
        return Patches(name=name, grid=settings.grid)
    encoder = load_encoder(name, settings.pretrained, settings.grid, settings.sha256)
    if fine_tuned is not None:
        encoder.load_state_dict(fine_tuned, strict=False)  # the text tower keeps its weights
    loaded: Any = encoder  # the model of open_clip or timm is its attribute `clip` or `net`
    if name.startswith(_LOCAL):
        write_json(
            folder / FOLDER_FILES[0], read_json(Path(name.removeprefix(_LOCAL), FOLDER_FILES[0]))
        )
        write_tensors(folder / FOLDER_FILES[1], loaded.clip.state_dict())
        return OpenClipFolder(grid=settings.grid)
    try:
        if name.startswith(_TIMM):
            timm = Timm(name=name.removeprefix(_TIMM), grid=settings.grid)
            write_tensors(folder / WEIGHTS, loaded.net.state_dict())
            return timm
        if not _is_tag(name, settings.pretrained):
            open_clip = OpenClip(name=name, grid=settings.grid)
            write_tensors(folder / WEIGHTS, loaded.clip.state_dict())
            return open_clip
        if fine_tuned is not None:
            return _write_folder(name, settings, loaded, folder)
        return OpenClip(
            name=name,
            tag=settings.pretrained,
            grid=settings.grid,
            tensors_sha256=encoder.tensors_sha256(),
        )
    except ValueError:  # pydantic's
        raise UserError(
            f"encoder {name} ({settings.pretrained}): cannot be exported, since its name is not a "
            "plain name of open_clip or timm"
        ) from None


def _write_trained(
    trained: Path, grid: int | None, folder: Path, fine_tuned: dict[str, Tensor] | None
) -> ResNet:
    description, tensors = trained_resnet(trained, grid)
    if fine_tuned is not None:
        tensors = {name.removeprefix(f"clip.{_VISUAL}"): fine_tuned[name] for name in fine_tuned}
    write_tensors(folder / WEIGHTS, tensors)
    return description


def _write_latents(
    sizes: AutoencoderSizes,
    trained: Path,
    grid: int | None,
    folder: Path,
    fine_tuned: dict[str, Tensor] | None,
) -> Latents:
    from dsacap.vision.encoders.latent_encoder import load_latent_encoder

    encoder = load_latent_encoder(sizes, trained, grid)
    if fine_tuned is not None:
        encoder.load_state_dict(fine_tuned)
    write_tensors(folder / WEIGHTS, encoder.net.state_dict())
    return Latents(**sizes.model_dump(include=set(AutoencoderSizes.model_fields)), grid=grid)


def _write_folder(
    name: str, settings: EncoderSettings, loaded: Any, folder: Path
) -> OpenClipFolder:
    """Write an encoder whose weights are no longer those that its tag stands for."""
    import open_clip

    quick = {"quick_gelu": True} if needs_quick_gelu(name, settings.pretrained) else {}
    model = open_clip.get_model_config(name) | quick
    write_json(
        folder / FOLDER_FILES[0],
        {"model_cfg": model, "preprocess_cfg": loaded.clip.visual.preprocess_cfg},
    )
    write_tensors(folder / FOLDER_FILES[1], loaded.clip.state_dict())
    return OpenClipFolder(grid=settings.grid)


def _is_tag(name: str, pretrained: str | None) -> bool:
    """Whether open_clip downloads the weights."""
    import open_clip

    return bool(open_clip.get_pretrained_cfg(name, pretrained))


def load_resnet(description: ResNet, tensors: dict[str, Tensor]) -> Encoder:
    """Return the image tower of a tiny CLIP.

    Args:
        description: Its sizes.
        tensors: Its weights.

    Raises:
        RuntimeError: The weights do not have these sizes.
    """
    from dsacap.vision.encoders.tiny_clip_resnet import ResNetEncoder

    encoder = ResNetEncoder(**description.model_dump(exclude={"kind"}))
    encoder.load_state_dict(tensors)
    return encoder


def read_encoder(description: Encoders, folder: Path) -> Encoder:
    """Return the encoder of an exported system.

    Args:
        description: The encoder's section in `model.json`.
        folder: The exported folder, in which the encoder's files are already checked.

    Raises:
        UserError: open_clip does not have the weights that the system was exported with.
    """
    if isinstance(description, ResNet):
        return load_resnet(description, read_tensors(folder / WEIGHTS)[0])
    if isinstance(description, Latents):
        return _load_latents(description, read_tensors(folder / WEIGHTS)[0])
    if isinstance(description, Patches):
        return load_encoder(description.name, None, description.grid)
    if isinstance(description, Timm):
        return load_encoder(f"{_TIMM}{description.name}", str(folder / WEIGHTS), description.grid)
    if isinstance(description, OpenClipFolder):
        return load_encoder(local_name(folder), None, description.grid)
    if description.tag is None:
        return load_encoder(description.name, str(folder / WEIGHTS), description.grid)
    encoder = _load_by_tag(description)
    if encoder.tensors_sha256() != description.tensors_sha256:
        raise UserError(
            f"encoder {description.name} ({description.tag}): open_clip now has other weights than "
            "when the system was exported; export the system again"
        )
    return encoder


def _load_latents(description: Latents, tensors: dict[str, Tensor]) -> Encoder:
    from dsacap.vision.encoders.latent_encoder import new_latent_encoder

    encoder = new_latent_encoder(description, description.grid)
    encoder.net.load_state_dict(tensors)
    return encoder


def _load_by_tag(description: OpenClip) -> Encoder:
    import open_clip

    # Anything but a known tag could be a file in the working directory.
    if description.tag not in open_clip.list_pretrained_tags_by_model(description.name):
        raise UserError(
            f"encoder {description.name}: open_clip has no weights {description.tag!r} for it; use "
            "the version of open_clip that the system was exported with"
        )
    return load_encoder(description.name, description.tag, description.grid)
