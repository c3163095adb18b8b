"""Launch configurations with which editors attach to a task: `devenv debug --editor`."""
