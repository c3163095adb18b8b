"""Everything that a person sees: events become phases, lines, tables or JSON lines. The only room with rich."""
