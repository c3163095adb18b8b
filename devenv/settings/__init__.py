"""Settings: `devenv.toml`, environment variables and flags become one frozen, validated object.

`devenv.settings.load` reads them; `devenv.settings.schema` says what there is.
"""

from devenv.settings.load import SettingsError, load
from devenv.settings.schema import Settings

__all__ = ["Settings", "SettingsError", "load"]
