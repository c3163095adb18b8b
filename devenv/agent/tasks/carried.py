"""Python packages that come from the laptop as zips of their modules: no image and no environment needs them."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from typing import Dict


class Carried:
    """The packages that have arrived, and what is on its way.

    Attributes:
        digests: name → SHA-256 of the zip that is unpacked.
        folders: name → where its modules are.
    """

    def __init__(self, folder: str) -> None:
        """Takes a folder for what arrives."""
        self._folder = folder
        self._arriving: Dict[str, bytes] = {}
        self.digests: Dict[str, str] = {}
        self.folders: Dict[str, str] = {}

    def take(self, name: str, data: bytes, *, last: bool) -> None:
        """Takes the next bytes of a package's zip; the last make it ready.

        Raises:
            ValueError: they are no zip.
        """
        content = self._arriving.pop(name, b"") + data
        if not last:
            self._arriving[name] = content
            return
        digest = hashlib.sha256(content).hexdigest()
        folder = os.path.join(self._folder, f"carried-{digest[:16]}")
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                archive.extractall(folder)
        except zipfile.BadZipFile as error:
            raise ValueError(str(error)) from error
        self.digests[name], self.folders[name] = digest, folder
