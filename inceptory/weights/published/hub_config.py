"""What timm writes beside a network's weights: a config.json with its classes and its preprocessing.

timm/models/_hub.py, save_config_for_hf. Where there is one, it overrides what names and shapes tell.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from inceptory.data.picture.preprocess import Preprocess
from inceptory.errors import DataError
from inceptory.system.files import reason
from inceptory.weights.identify import Identity

FILES = ("model.safetensors", "pytorch_model.bin")
"""What timm calls the weights in such a folder."""
LARGEST = 8 * 2**20
"""Bytes of a config.json that is read; 22,000 names take a tenth of it."""
FILTERS = ("bilinear", "bicubic")


def with_config(identity: Identity, path: Path) -> Identity:
    """The identity with the names and the preprocessing of the config beside its file, if there is one.

    Raises DataError where the config has other classes than the weights.
    """
    place = path.parent / "config.json"
    config = _read(place) if path.name in FILES else {}
    if not isinstance(config.get("pretrained_cfg"), dict):
        return identity
    remarks = []
    names = _names(place, config, identity.plan.classes)
    if names:
        remarks.append("its config.json names the classes")
    steps = _steps(config["pretrained_cfg"], identity.plan.in_channels)
    if steps is not None:
        remarks.append("its config.json tells the preprocessing")
        origin = replace(identity.origin, twins=(), preprocess=steps)
        identity = replace(identity, origin=origin, notes=())
    return replace(identity, labels=names, remarks=(*identity.remarks, *remarks))


def _read(place: Path) -> dict[str, Any]:
    try:
        if not place.is_file() or place.stat().st_size > LARGEST:
            return {}
        config = json.loads(place.read_text("utf-8"))
    except OSError as fault:
        raise DataError(f"{place}: cannot be read, {reason(fault)} (check its permissions)") from fault
    except (ValueError, RecursionError):
        return {}  # not timm's, so it says nothing of the weight file
    return config if isinstance(config, dict) else {}


def _names(place: Path, config: dict[str, Any], classes: int) -> tuple[str, ...]:
    """Class names in the order of the logits; a record is of numbers and names, where some may be left out."""
    names = config.get("label_names") or config["pretrained_cfg"].get("label_names")
    if isinstance(names, dict):
        names = [names.get(str(k)) for k in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return ()
    if len(names) != classes:
        problem = f"names {len(names)} classes, and the weights beside it have {classes}"
        raise DataError(f"{place}: {problem} (give the config of these weights, or move it away)")
    return tuple(names)


def _steps(config: dict[str, Any], channels: int) -> Preprocess | None:
    """timm's transforms for evaluation; None where they are none that we can take."""
    try:
        depth, high, wide = config["input_size"]
        mean, std = (tuple(map(float, config[key])) for key in ("mean", "std"))
        kind, crop, share = config["interpolation"], config.get("crop_mode", "center"), float(config["crop_pct"])
        supported = kind in FILTERS and crop in ("center", "squash") and high == wide and depth == channels
        if not supported or channels not in (1, 3) or not 0 < share <= 1 or (crop == "squash" and share < 1):
            return None
        resize = None if crop == "squash" else int(high / share)
        order = "L" if channels == 1 else "RGB"
        return Preprocess(size=high, resize=resize, filter=kind, mean=mean, std=std, order=order)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError):
        return None
