"""Images, volumes, phases and provenance on disk."""
