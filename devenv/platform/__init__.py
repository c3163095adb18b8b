"""What both cluster backends share: manifests, steps, image, status, and sessions to the agent."""
