"""The journey of an audit: read DATA, examine it, write the folder that a person looks at."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from bowerbird import machine, progress
from bowerbird.auditing.results import Audit
from bowerbird.config import NetworkConfig, ReadConfig
from bowerbird.data.dataset import Dataset
from bowerbird.data.scan import is_table
from bowerbird.data.sources import read_images
from bowerbird.errors import DataError

__all__ = ["audit_data", "read_any"]


def audit_data(
    data: str,
    read: ReadConfig,
    network: NetworkConfig,
    out: Path,
    *,
    thorough: bool = False,
    seed: int = 0,
) -> Audit:
    """Examine images, and write ``issues.csv``, ``audit.json`` and ``audit.html`` into a folder.

    Args:
        data: whatever `read_images` takes.
        read: columns, root, manifest.
        network: whose frozen features to use.
        out: the folder; files of an earlier audit in it are replaced.
        thorough: ask a second method about the labels.
        seed: of what is drawn.

    Raises:
        BowerbirdError: anything that a person can mend; see `errors`.
    """
    dataset, why = read_any(data, read)
    progress.say(f"{dataset} in {data}.")
    machine.load("bowerbird.auditing", "timm", "bowerbird.report.of_audit")
    from bowerbird.auditing import audit
    from bowerbird.report.of_audit import check_place, write_audit

    listed = [sample.path for sample in dataset.samples] if is_table(data) else ()
    check_place(out, dataset.root, listed)
    found = audit(dataset, network, thorough=thorough, seed=seed)
    if why:
        found = found.noted(f"Labels are not examined. {why}")
    asked = {"data": data, "read": read.model_dump(mode="json", exclude_none=True)}
    found = dataclasses.replace(found, settings=asked | dict(found.settings))
    write_audit(found, out)
    return found


def read_any(data: str, read: ReadConfig) -> tuple[Dataset, str]:
    """Images with their labels, or without where there are none, and the reason for that.

    Raises:
        DataError: there are no images.
    """
    try:
        return read_images(data, read), ""
    except DataError as error:
        if any(value is not None for _, value in read):
            raise  # labels were asked for by name
        try:
            return read_images(data, labelled=False), str(error)
        except DataError:
            raise error from None
