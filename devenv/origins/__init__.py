"""What a repository shows of itself: a module for each thing that DAGs are laid out for (Astro, MWAA, Helm …)."""
