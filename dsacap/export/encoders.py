"""The photo encoder of an exported system: written with its weights where that can be done, else named so that no other passes for it."""

from pathlib import Path

from torch import Tensor

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, read_tensors, write_json, write_tensors
from dsacap.config.sections import Encoder as EncoderSettings
from dsacap.export.description import Encoders, OpenClip, OpenClipFolder, ResNet, Timm
from dsacap.vision.encoders.base import Encoder
from dsacap.vision.encoders.clip_encoder import local_name, needs_quick_gelu
from dsacap.vision.encoders.load import load_encoder

WEIGHTS = "encoder.safetensors"
FOLDER_FILES = ("open_clip_config.json", "open_clip_model.safetensors")  # open_clip's own names

_LOCAL, _TIMM, _VISUAL = "local-dir:", "timm:", "visual."


def files_of(encoder: Encoders) -> tuple[str, ...]:
    """Those of the encoder in the exported folder."""
    if isinstance(encoder, OpenClipFolder):
        return FOLDER_FILES
    return () if isinstance(encoder, OpenClip) and encoder.tag else (WEIGHTS,)


def trained_resnet(folder: Path, grid: int | None) -> tuple[ResNet, dict]:
    """The photo side of the tiny CLIP in `folder`: its description and its weights."""
    said = read_json(folder / "open_clip_config.json")
    photos, looks = said["model_cfg"]["vision_cfg"], said["preprocess_cfg"]
    described = ResNet(
        image_size=photos["image_size"],
        layers=photos["layers"],
        width=photos["width"],
        heads=photos["width"] * 32 // photos["head_width"],
        embed_dim=said["model_cfg"]["embed_dim"],
        mean=looks["mean"],
        std=looks["std"],
        grid=grid,
    )
    tensors = read_tensors(folder / "open_clip_model.safetensors")[0]
    return described, {
        name.removeprefix(_VISUAL): tensor
        for name, tensor in tensors.items()
        if name.startswith(_VISUAL)
    }


def write_encoder(
    settings: EncoderSettings, trained: Path, folder: Path, own: dict[str, Tensor] | None = None
) -> Encoders:
    """Writes the configured encoder's files to `folder`; `trained` is where one lies that was trained here, `own` are the weights of one
    that a system trained further. UserError where it cannot be carried."""
    if settings.train:
        described, tensors = trained_resnet(trained, settings.grid)
        write_tensors(
            folder / WEIGHTS,
            tensors
            if own is None
            else {name.removeprefix(f"clip.{_VISUAL}"): own[name] for name in own},
        )
        return described
    loaded = load_encoder(settings.name, settings.pretrained, settings.grid, settings.sha256)
    if own is not None:
        loaded.load_state_dict(own, strict=False)  # all but what reads text
    if settings.name.startswith(_LOCAL):
        write_json(
            folder / FOLDER_FILES[0],
            read_json(Path(settings.name.removeprefix(_LOCAL), FOLDER_FILES[0])),
        )
        write_tensors(folder / FOLDER_FILES[1], loaded.clip.state_dict())
        return OpenClipFolder(grid=settings.grid)
    try:
        if settings.name.startswith(_TIMM):
            described = Timm(name=settings.name.removeprefix(_TIMM), grid=settings.grid)
            write_tensors(folder / WEIGHTS, loaded.net.state_dict())
            return described
        if _is_tag(settings) and own is not None:
            return _written_as_folder(settings, loaded, folder)
        if _is_tag(settings):
            return OpenClip(
                name=settings.name,
                tag=settings.pretrained,
                grid=settings.grid,
                tensors_sha256=loaded.tensors_sha256(),
            )
        described = OpenClip(name=settings.name, grid=settings.grid)
        write_tensors(folder / WEIGHTS, loaded.clip.state_dict())
        return described
    except ValueError:  # pydantic's
        raise UserError(
            f"encoder {settings.name} ({settings.pretrained}): only a plain name of open_clip or timm can be exported"
        ) from None


def _written_as_folder(settings: EncoderSettings, loaded: Encoder, folder: Path) -> OpenClipFolder:
    """What was fetched by a tag and is not what the tag stands for any more."""
    import open_clip

    quick = {"quick_gelu": True} if needs_quick_gelu(settings.name, settings.pretrained) else {}
    model = open_clip.get_model_config(settings.name) | quick
    write_json(
        folder / FOLDER_FILES[0],
        {"model_cfg": model, "preprocess_cfg": loaded.clip.visual.preprocess_cfg},
    )
    write_tensors(folder / FOLDER_FILES[1], loaded.clip.state_dict())
    return OpenClipFolder(grid=settings.grid)


def _is_tag(settings: EncoderSettings) -> bool:
    """Whether open_clip fetches the weights."""
    import open_clip

    return bool(open_clip.get_pretrained_cfg(settings.name, settings.pretrained))


def load_resnet(described: ResNet, tensors: dict) -> Encoder:
    """RuntimeError where the weights are not those of such a network."""
    from dsacap.vision.encoders.tiny_clip_resnet import ResNetEncoder

    encoder = ResNetEncoder(**described.model_dump(exclude={"kind"}))
    encoder.load_state_dict(tensors)
    return encoder


def read_encoder(described: Encoders, folder: Path) -> Encoder:
    """The encoder of an exported system, whose files have been checked."""
    if isinstance(described, ResNet):
        return load_resnet(described, read_tensors(folder / WEIGHTS)[0])
    if isinstance(described, Timm):
        return load_encoder(f"{_TIMM}{described.name}", str(folder / WEIGHTS), described.grid)
    if isinstance(described, OpenClipFolder):
        return load_encoder(local_name(folder), None, described.grid)
    if described.tag is None:
        return load_encoder(described.name, str(folder / WEIGHTS), described.grid)
    encoder = _by_tag(described)
    if encoder.tensors_sha256() != described.tensors_sha256:
        raise UserError(
            f"encoder {described.name} ({described.tag}): open_clip gives other weights today than those it was exported with"
        )
    return encoder


def _by_tag(described: OpenClip) -> Encoder:
    import open_clip

    if described.tag not in open_clip.list_pretrained_tags_by_model(
        described.name
    ):  # it could be a file of the working directory
        raise UserError(
            f"encoder {described.name}: open_clip knows no weights {described.tag!r} of it; is it of another version?"
        )
    return load_encoder(described.name, described.tag, described.grid)
