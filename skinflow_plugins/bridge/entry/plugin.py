"""The file for `swift ... --external_plugins`; `skinflow plugin` prints its path.

It lives alone: swift puts its folder first on the import path, and loads the file under a name of its own,
once for every path by which it is reached. All it does is call a function that may be called many times.
"""

from skinflow_plugins.bridge.register import register

register()
