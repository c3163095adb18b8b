"""Running tasks outside of the scheduler, on the laptop's side: `devenv test`."""
