"""A file a format: bytes to sections of readable text that know their lines; `documents.files` chooses by name."""
